"""The collector rests while libraries are loaded, and is as it was afterwards."""

import gc

import pytest

from tasks.runtime.device import loading


def test_it_rests_inside_and_goes_on_after() -> None:
    with loading():
        assert not gc.isenabled()
        with loading():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_goes_on_after_a_library_that_is_not_there() -> None:
    with pytest.raises(ModuleNotFoundError), loading():
        import no_such_library  # type: ignore[import-not-found]  # noqa: F401 - it cannot be used
    assert gc.isenabled()
