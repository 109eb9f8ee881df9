"""Who has which GPU: no two processes have the same, and a dead one has none."""

import os
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from ltx_core.errors import ConfigError, Stopped
from ltx_core.io import lock
from ltx_core.progress import Silent
from tasks.runtime.device import ALL, VISIBLE, held_gpus, lock_folder

pytestmark = pytest.mark.whole

HOLDER = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from ltx_core.progress import SILENT
from tasks.runtime.device import held_gpus
with held_gpus(1, "train_lora in /data/ann", SILENT) as held:
    print(*held.names, flush=True)
    sys.stdin.read()
"""


class Told(Silent):
    """Keeps what is said; asked to stop by the test."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.asked = threading.Event()

    @property
    def stopping(self) -> bool:  # type: ignore[override]  # Silent never stops; this one asks
        return self.asked.is_set()

    def note(self, message: str) -> None:
        self.notes.append(message)
        self.asked.set()


@pytest.fixture(autouse=True)
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv(VISIBLE, "2,5")
    monkeypatch.setattr(lock, "POLL_SECONDS", 0.01)


def holder(tmp_path: Path) -> subprocess.Popen[str]:
    """Another process that may use both, and holds one until it is killed."""
    command, both = [sys.executable, "-c", HOLDER, str(tmp_path)], os.environ | {VISIBLE: "2,5"}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=both)


def test_a_process_sees_the_gpu_that_it_holds() -> None:
    with held_gpus(1, "testing", Silent()) as first:
        assert first.names == ("2",)
        assert os.environ[VISIBLE] == "2"
    assert os.environ[VISIBLE] == "2,5"


def test_two_processes_have_different_ones_and_a_third_waits(tmp_path: Path) -> None:
    others = [holder(tmp_path), holder(tmp_path)]
    taken = {other.stdout.readline().strip() for other in others if other.stdout}
    assert taken == {"2", "5"}
    told = Told()
    with pytest.raises(Stopped, match="waiting for a GPU"), held_gpus(1, "testing", told):
        pass
    (note,) = told.notes
    holders = {re.escape(f"process {other.pid} (train_lora in /data/ann)") for other in others}
    held_by = rf"({'|'.join(holders)}) since \d\d:\d\d:\d\d"
    assert re.fullmatch(rf"waiting for a GPU: GPU 2 is held by {held_by}; GPU 5 is held by {held_by}", note)
    assert all(str(other.pid) in note for other in others)
    others[0].kill()
    others[0].wait()
    with held_gpus(1, "testing", Silent()) as freed:
        assert freed.names[0] in taken, "the kernel frees what a killed process held"
    others[1].kill()
    others[1].wait()


def test_training_takes_all_that_are_free_and_says_what_is_not(tmp_path: Path) -> None:
    with held_gpus(ALL, "testing", Silent()) as all_of_them:
        assert all_of_them.names == ("2", "5")
    other = holder(tmp_path)
    assert other.stdout is not None
    taken = other.stdout.readline().strip()
    told = Told()
    with held_gpus(ALL, "testing", told) as rest:
        assert len(rest.names) == 1
        assert rest.names[0] != taken
    (note,) = told.notes
    assert note.startswith(f"taken are 1 of 2 GPUs: GPU {taken} is held by process {other.pid} (train_lora in /data/")
    told = Told()
    with pytest.raises(Stopped), held_gpus(2, "testing", told):
        pass
    other.kill()
    other.wait()


def test_what_training_cannot_share_evenly_is_given_back(tmp_path: Path) -> None:
    told = Told()
    with held_gpus(ALL, "testing", told) as held:
        held.keep(1)
        assert held.names == ("2",)
        assert os.environ[VISIBLE] == "2"
        assert "1 of 2 GPUs train" in told.notes[0]
        other = holder(tmp_path)
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "5"
        other.kill()
        other.wait()


def test_more_than_there_are_is_refused() -> None:
    refused = pytest.raises(ConfigError, match=r"3 GPUs are wanted and 2 can be used \(2, 5\)")
    with refused, held_gpus(3, "testing", Silent()):
        pass


def test_without_gpus_nothing_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "")
    with held_gpus(1, "testing", Silent()) as none:
        assert none.names == ()
        none.keep(1)
    assert list(lock_folder().iterdir()) == []
