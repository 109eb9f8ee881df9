"""Signals that end a command as ctrl-C does."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

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
