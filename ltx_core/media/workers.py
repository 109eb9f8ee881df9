"""Work on files in processes, ahead in threads; what crashes, hangs or changes meanwhile is that file's verdict."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from datasets_spec.quarantine import QuarantineReason
from ltx_core.errors import ChangedError, DataError, OutOfMemory, Stopped, TransientError
from ltx_core.io.digest import DigestMemo, FileState
from ltx_core.media.errors import MediaError
from ltx_core.media.worker_process import BROKE, RAISED
from ltx_core.process import killed_since, oom_kills

Item = TypeVar("Item")
Result = TypeVar("Result")
Failure = TypeVar("Failure", bound=Exception)

MOST_WORKERS = 16
"""ffmpeg uses several cores for a file by itself; more files at once mostly take memory."""


@dataclass(frozen=True)
class Window:
    """The number of items to be ahead."""

    workers: int
    """Threads; ffmpeg and NumPy let others run while they work."""
    max_bytes: int
    """Of results that wait or are being made; a single item may be larger."""

    @property
    def max_items(self) -> int:
        """Items that wait or are being made."""
        return 2 * self.workers


def default_workers() -> int:
    """One for each core that this process may use, up to `MOST_WORKERS`."""
    return min(len(os.sched_getaffinity(0)), MOST_WORKERS)


class Leaving(threading.Event):
    """Set once nobody wants results any more."""

    def check(self) -> None:
        """For the work to call now and then.

        Raises:
            Stopped: nobody wants the result.
        """
        if self.is_set():
            raise Stopped("nobody waits for this any more")


@dataclass
class _Ahead(Generic[Item, Result]):
    """Tasks that were begun and whose results were not taken yet, oldest first."""

    waiting: deque[tuple[Item, Future[Result], int]]
    num_bytes: int = 0

    def has_room(self, size: int, window: Window) -> bool:
        fits = len(self.waiting) < window.max_items and self.num_bytes + size <= window.max_bytes
        return fits or not self.waiting

    def oldest(self, check: Callable[[], None], apart: type[Failure]) -> tuple[Item, Result | Failure]:
        item, future, num_bytes = self.waiting[0]
        while True:
            check()
            try:
                result: Result | Failure = future.result(timeout=WAIT_SECONDS)
            except NotYet:
                continue
            except apart as error:
                result = error
            break
        self.waiting.popleft()
        self.num_bytes -= num_bytes
        return item, result


def run_ahead(
    items: Iterable[Item],
    work: Callable[[Item, Leaving], Result],
    *,
    size: Callable[[Item], int],
    window: Window,
    check: Callable[[], None],
    apart: type[Failure],
) -> Generator[tuple[Item, Result | Failure], None, None]:
    """(item, result) in the items' order, whichever is ready first; an item whose work raised `apart` gives that.

    `size` says how many bytes a result takes; `check` is called while waiting and may raise to end it all. Closing
    the iterator (use `contextlib.closing`) ends every thread: work that calls `Leaving.check` ends at once.

    Raises:
        Exception: whatever else the work or `check` raises.
    """
    leaving = Leaving()
    ahead: _Ahead[Item, Result] = _Ahead(deque())
    threads = ThreadPoolExecutor(window.workers, thread_name_prefix="decode ahead")
    try:
        for item in items:
            num_bytes = size(item)
            while not ahead.has_room(num_bytes, window):
                yield ahead.oldest(check, apart)
            ahead.waiting.append((item, threads.submit(work, item, leaving), num_bytes))
            ahead.num_bytes += num_bytes
        while ahead.waiting:
            yield ahead.oldest(check, apart)
    finally:
        leaving.set()
        threads.shutdown(wait=True, cancel_futures=True)


WAIT_SECONDS = 0.1
"""Seconds between looks whether to leave, while a worker is busy."""
BYTES_A_LIMIT = 64 * 2**20
"""For so many bytes of a file begun, reading it may take its limit once more."""

_starter = ThreadPoolExecutor(1, thread_name_prefix="start workers")
"""Starts all workers: the kernel ends them with the thread that started them, and this one lasts."""
_idle: list["Worker"] = []
_lock = threading.Lock()


class FileLimits(NamedTuple):
    """The file that is worked on, how long that may take, and how many threads may decode it."""

    path: Path
    seconds: float
    decoder_threads: int


class Worker:
    """A process that is started when it is first needed, and again after it ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._oom_before: int | None = None
        self._connection: Connection[Any, Any] | None = None

    def call(self, file: FileLimits, check: Callable[[], None], function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what `function(*arguments)` gives in the worker. Both travel by pickle: the function by its name.

        `check` is called meanwhile and may raise, which ends the worker.

        Raises:
            LtxError: as the function raised it.
            MediaError: DECODE_ERROR, the function raised anything else, took too long, or ended its process.
            OutOfMemory: the kernel ended the worker for want of memory.
            Stopped: the worker was killed from outside.
        """
        if self._process is None:
            _starter.submit(self._start).result()
        assert self._connection is not None
        self._oom_before = oom_kills()
        try:
            self._connection.send((function, arguments, file.decoder_threads))
            kind, value = self._answer(file.path, time.monotonic() + file.seconds, file.seconds, check)
        except BaseException:
            self.end()
            raise
        if kind == RAISED:
            raise value
        if kind == BROKE:
            raise _broken(file.path, f"reading it ended in {value}")
        return value

    def end(self) -> None:
        """Kill the process, whatever it does."""
        if self._process is not None and self._connection is not None:
            self._process.kill()
            self._process.wait()
            self._connection.close()
        self._process = self._connection = None

    def _start(self) -> None:
        ours, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ltx_core.media.worker_process", str(theirs.fileno()), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
        )
        theirs.close()
        self._connection = ours

    def _answer(self, path: Path, deadline: float, seconds: float, check: Callable[[], None]) -> tuple[str, Any]:
        assert self._connection is not None
        while not self._connection.poll(WAIT_SECONDS):
            check()
            if time.monotonic() > deadline:
                raise _broken(
                    path, f"reading it takes more than {seconds:.0f} s (`limits.file_seconds`, to raise with --force)"
                )
        try:
            kind, value = self._connection.recv()
        except (EOFError, ConnectionResetError):
            raise self._death(path) from None
        return kind, value

    def _death(self, path: Path) -> Exception:
        assert self._process is not None
        code = self._process.wait()
        if code == -signal.SIGKILL and killed_since(self._oom_before):
            return OutOfMemory(
                f"the kernel ended the process that read {path}, for host memory ran out: close other programs, or "
                f"lower `decode_workers`. What was finished is kept, run again to go on"
            )
        if code == -signal.SIGKILL:
            return Stopped(
                f"the process that read {path} was killed from outside (SIGKILL). What was finished is kept, run again "
                f"to go on"
            )
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return _broken(path, f"reading it ended its process with {how}")


def read_apart(file: FileLimits, check: Callable[[], None], function: Callable[..., Any], *arguments: Any) -> Any:
    """As `Worker.call`, by a worker that nobody else uses meanwhile; it stays for who comes next."""
    with _worker() as worker:
        return worker.call(file, check, function, *arguments)


def limits_of(path: Path, file_seconds: float, num_readers: int) -> FileLimits:
    """A file may take `file_seconds`, and as long again for every 64 MiB of it; readers at work at once share the
    cores."""
    seconds = file_seconds * (1 + _size(path) // BYTES_A_LIMIT)
    return FileLimits(path, seconds, max(len(os.sched_getaffinity(0)) // num_readers, 1))


@contextmanager
def _worker() -> Iterator[Worker]:
    with _lock:
        worker = _idle.pop() if _idle else Worker()
    try:
        yield worker
    finally:
        with _lock:
            _idle.append(worker)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # what reads it says why


def _broken(path: Path, what: str) -> MediaError:
    return MediaError(
        QuarantineReason.DECODE_ERROR,
        f"{path} cannot be used: {what}; a file without errors is wanted. Convert it again from its source, or remove "
        f"it.",
    )


T = TypeVar("T")
TRIES = 2
"""A file that was touched, or away for a moment, is read again; one that goes on changing is quarantined."""


def never(_result: object) -> bool:
    """No result says anything bad."""
    return False


def read_unchanged(
    files: Mapping[Path, str],
    memo: DigestMemo,
    read: Callable[[], T],
    is_doubtful: Callable[[T], bool] = never,
) -> T:
    """Return what `read` makes of files that had the bytes of these digests before, after and all the while.

    Size, times and inode are looked at before and after; bytes where they differ from what `memo` knows. So the result
    may be kept by the digests. Bad news is believed only if the bytes, read whole once more, are still those: what
    `read` raises, and a result that `is_doubtful`. So no verdict on content comes from a disk or a network that failed.

    Raises:
        MediaError: CHANGED, a file has other bytes, or changed while it was read; UNREADABLE, one is away, forbidden,
            or its disk failed: both hold for now and must not be kept by content. Else what `read` raised.
    """
    fault: DataError | TransientError | None = None
    for _ in range(TRIES):
        before = _seen(files, memo)
        try:
            made = read()
        except (DataError, TransientError) as error:
            fault, doubtful = error, True
        else:
            fault, doubtful = None, is_doubtful(made)
        if _seen(files, memo, again=doubtful) == before:
            if fault is None:
                return made
            if not _may_pass(fault):
                raise fault
    if fault is not None and _may_pass(fault):
        raise MediaError(QuarantineReason.UNREADABLE, str(fault)) from fault
    raise _changed(next(iter(files)))


def unreadable(path: Path, error: OSError) -> MediaError:
    """The verdict on a file that cannot be read now."""
    return MediaError(
        QuarantineReason.UNREADABLE,
        f"{path} cannot be read: {error.strerror}; check that it is there, its permissions and its disk. The next run "
        f"looks again.",
    )


def _seen(files: Mapping[Path, str], memo: DigestMemo, *, again: bool = False) -> dict[Path, tuple[object, ...]]:
    """The state of each file and, where its path is a link, of the link.

    Raises:
        MediaError: CHANGED or UNREADABLE.
    """
    found: dict[Path, tuple[object, ...]] = {}
    for path, digest in files.items():
        try:
            if memo.get(path, again=again, watch=False) != digest:
                raise _changed(path)
            link = path.lstat()
            found[path] = (FileState.of(path), link.st_ino, link.st_ctime_ns)
        except ChangedError as error:
            raise _changed(path) from error
        except OSError as error:
            raise unreadable(path, error) from error
    return found


def _changed(path: Path) -> MediaError:
    return MediaError(
        QuarantineReason.CHANGED,
        f"{path} changed while this run read it, or is still being written; nothing is kept of it. Leave it as it is, "
        f"and run again.",
    )


def _may_pass(fault: Exception) -> bool:
    return isinstance(fault, TransientError) or (isinstance(fault, MediaError) and fault.reason.may_pass)
