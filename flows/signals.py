"""A command whose terminal closes or that is asked to end: signals end it as ctrl-C does; output outlasts its
reader."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO, cast

from ltx_core.io.atomic import is_full_disk

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""SIGHUP comes when the terminal is closed."""
AGAIN_SECONDS = 0.05


class Ended(KeyboardInterrupt):
    """One of those signals came."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let them raise `Ended`, unless whoever started the command wants a signal ignored, as `nohup` does."""
    before = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in before.items():
        if handler is signal.SIG_DFL:
            signal.signal(number, _end)
    hook, sys.unraisablehook = sys.unraisablehook, _asked_again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise Ended(number)


def _asked_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """A signal came while a destructor or a weak reference's callback ran, which can raise nothing: it comes again."""
    error = unraisable.exc_value
    if not isinstance(error, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    number = error.number if isinstance(error, Ended) else signal.SIGINT
    threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), number)).start()


class Lasting:
    """A stream of text; what cannot be written is dropped, and all else is as the stream has it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._was_full = False

    def write(self, text: str) -> int:
        """Write it if somebody reads."""
        self._tried(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush if somebody reads."""
        self._tried(self._stream.flush)

    def is_whole(self) -> bool:
        """Return whether no text was lost because the disk that it goes to is full; a reader who went away wants no
        more."""
        self.flush()
        return not self._was_full

    def end(self) -> None:
        """Write the rest, or let Python, which flushes again when it ends, write it to nowhere."""
        try:
            self._stream.flush()
        except OSError:
            with suppress(OSError), Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())

    def _tried(self, work: Callable[[], object]) -> None:
        try:
            work()
        except OSError as error:
            self._was_full = self._was_full or is_full_disk(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lasting_output() -> Iterator[Lasting]:
    """Let standard output and error be so while the block runs; gives the former."""
    out, err = Lasting(sys.stdout), Lasting(sys.stderr)
    try:
        with redirect_stdout(cast(TextIO, out)), redirect_stderr(cast(TextIO, err)):
            yield out
    finally:
        out.end()
        err.end()
