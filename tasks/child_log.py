"""The log of a process that runs a stage: what it and its libraries print. No line of it is worth a failed stage."""

import io
import sys
from typing import Any


class _Lossy(io.FileIO):
    """A file whose lines are lost where they cannot be written, as on a full disk."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(memoryview(data).cast("B"))


def log_to_stderr() -> None:
    """Let Python's standard output and standard error go to file descriptor 2, where a lost line raises nothing.

    Without a buffer, so that each line is in the log when it is printed, in order with what C libraries print.
    """
    raw = _Lossy(2, "w", closefd=False)
    sys.stdout = sys.stderr = io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)
