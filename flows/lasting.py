"""Output that outlasts its reader: a closed terminal, or the end of a pipe's reader, is no reason to end a run."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TextIO, cast

from ltx_core.files.atomic import is_full_disk


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
        """Whether no text was lost because the disk that it goes to is full; a reader who went away wants no more."""
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
