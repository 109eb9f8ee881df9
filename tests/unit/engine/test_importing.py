"""The compiler is imported beside reading weights, in a thread, and is there when they are."""

import sys
import threading

import pytest

from ltx_core.engine import compiling
from ltx_core.engine.compiling import importing_the_compiler


@pytest.mark.whole
def test_it_is_there_at_the_end() -> None:
    with importing_the_compiler():
        pass
    assert "torch._inductor.compile_fx" in sys.modules


def test_the_block_goes_on_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    read, seen = threading.Event(), []

    def importing(name: str) -> None:
        assert read.wait(10), "the block waited for the import"
        seen.append((name, threading.current_thread()))

    monkeypatch.setattr(compiling, "import_module", importing)
    with importing_the_compiler():
        assert not seen
        read.set()
    ((name, thread),) = seen
    assert name.startswith("torch._inductor")
    assert thread is not threading.main_thread()


def test_a_failed_import_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def importing(name: str) -> None:
        raise ImportError(f"no {name}")

    monkeypatch.setattr(compiling, "import_module", importing)
    with pytest.raises(ImportError, match="_inductor"), importing_the_compiler():
        pass
