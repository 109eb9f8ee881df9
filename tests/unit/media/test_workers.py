"""Worker processes: real ones, given what decoders do at their worst."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from datasets_spec import QuarantineReason
from ltx_core.errors import DataError, Stopped
from ltx_core.media.errors import MediaError
from ltx_core.media.workers import FileLimits, limits_of, read_apart

pytestmark = pytest.mark.whole

FILE = Path("/nowhere/a.mp4")
PATIENT = 60.0


def double(number: int) -> int:
    return 2 * number


def process_id() -> int:
    return os.getpid()


def loaded() -> list[str]:
    return [name for name in ("torch", "mlflow", "prefect", "transformers") if name in sys.modules]


def raise_index_error() -> None:
    raise IndexError("list index out of range")


def raise_media_error() -> None:
    raise MediaError(QuarantineReason.TRUNCATED, "cut off")


def raise_data_error() -> None:
    raise DataError("not usable")


def crash() -> None:
    os.abort()


def segfault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    os._exit(3)


def hang(seconds: float) -> None:
    time.sleep(seconds)


def apart(function: Any, *arguments: Any, seconds: float = PATIENT) -> Any:
    return read_apart(FileLimits(FILE, seconds, 1), lambda: None, function, *arguments)


def test_results_come_from_another_process_that_stays() -> None:
    assert apart(double, 21) == 42
    first = apart(process_id)
    assert first != os.getpid()
    assert apart(process_id) == first
    assert apart(loaded) == []


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (raise_index_error, "IndexError: list index out of range"),
        pytest.param(crash, "SIGABRT", marks=pytest.mark.extra),
        (segfault, "SIGSEGV"),
        (leave, "exit code 3"),
    ],
)
def test_whatever_happens_is_the_verdict_of_the_file(function: Any, words: str) -> None:
    with pytest.raises(MediaError) as caught:
        apart(function)
    assert caught.value.reason is QuarantineReason.DECODE_ERROR
    assert words in str(caught.value)
    assert str(FILE) in str(caught.value)
    assert apart(double, 2) == 4


def test_what_hangs_is_ended() -> None:
    before, started = apart(process_id), time.monotonic()
    with pytest.raises(MediaError, match="more than 0 s"):
        apart(hang, 300.0, seconds=0.3)
    assert time.monotonic() - started < 30
    after = apart(process_id)
    assert after != before
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)


def test_errors_of_ours_keep_their_kind() -> None:
    with pytest.raises(MediaError) as caught:
        apart(raise_media_error)
    assert caught.value.reason is QuarantineReason.TRUNCATED
    with pytest.raises(DataError, match="not usable"):
        apart(raise_data_error)
    with pytest.raises(Stopped, match="killed from outside"):
        apart(be_killed)


def test_who_leaves_ends_the_worker() -> None:
    before = apart(process_id)

    def leave_now() -> None:
        raise Stopped("enough")

    with pytest.raises(Stopped):
        read_apart(FileLimits(FILE, PATIENT, 1), leave_now, hang, 300.0)
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)


def test_a_worker_outlives_the_thread_that_first_asked() -> None:
    """The kernel ends it with the thread that started it: a thread of one call must not be that."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(apart(process_id)))
    thread.start()
    thread.join()
    time.sleep(0.2)
    os.kill(found[0], 0)
    assert apart(double, 1) == 2


def test_the_limit_grows_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    with path.open("wb") as file:
        file.truncate(40 * 64 * 2**20)
    assert limits_of(path, 0.5, 10**6) == FileLimits(path, 0.5 * 41, 1)
    path.write_bytes(b"small")
    assert limits_of(path, 0.5, 1) == FileLimits(path, 0.5, len(os.sched_getaffinity(0)))
