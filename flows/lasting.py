"""Output that outlasts its reader: a closed terminal, or the end of a pipe's reader, is no reason to end a run."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO, cast


class Lasting:
    """A stream of text; what nobody can read any more is dropped, and all else is as the stream has it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write it if somebody reads."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush if somebody reads."""
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lasting_output() -> Iterator[None]:
    """Let standard output and error be so while the block runs."""
    out, err = cast(TextIO, Lasting(sys.stdout)), cast(TextIO, Lasting(sys.stderr))
    with redirect_stdout(out), redirect_stderr(err):
        yield
