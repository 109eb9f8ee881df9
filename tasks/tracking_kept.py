"""`tracking/<run>.jsonl` in the workspace: what MLflow has not taken yet, an entry a line, each with its checksum."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any
from zlib import crc32

from tasks.shared import TrackingConfig
from tasks.tracking import now_ms
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Entry:
    """One thing to be told of one run."""

    run: str
    """The run's key."""
    kind: str
    value: Any
    at_ms: int = field(default_factory=now_ms)


class Kept:
    """A file of entries, held by this process, so that no other tells them too."""

    def __init__(self, file: IO[str], path: Path) -> None:
        self.file, self.path = file, path

    @classmethod
    def new(cls, path: Path, where: str) -> "Kept":
        """An empty one; its first line says for which MLflow it is.

        Raises:
            OSError: it cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a", encoding="utf-8")
        os.fchmod(file.fileno(), 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        made = cls(file, path)
        made._write([where])
        return made

    def write(self, entries: Iterable[Entry]) -> None:
        """Append entries.

        Raises:
            OSError: they cannot be written.
        """
        self._write(asdict(entry) for entry in entries)

    def close(self, *, delete: bool) -> None:
        """Let go of it."""
        if delete:
            self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # of what waits to be written, which is told of when it is added
            self.file.close()

    def _write(self, values: Iterable[Any]) -> None:
        for value in values:
            text = json.dumps(value)
            self.file.write(f"{crc32(text.encode()):08x} {text}\n")
        self.file.flush()


def kept_folder(workspace: Workspace) -> Path:
    """Where the files lie."""
    return workspace.root / "tracking"


def destination(config: TrackingConfig) -> str:
    """Which MLflow a file is for, without secrets."""
    return json.dumps([None if config.uri is None else str(config.uri), config.experiment])


@contextmanager
def kept_entries(path: Path, where: str) -> Iterator[list[Entry]]:
    """What is kept for `where` in a file, which is held meanwhile; nothing of a file that another process holds.

    A line that a kill cut short, or a failing disk changed, is left out.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield []
            return
        values = [json.loads(line[9:]) for line in file if _is_whole(line)]
        yield [Entry(**value) for value in values[1:]] if values[:1] == [where] else []


def _is_whole(line: str) -> bool:
    return line.endswith("\n") and line[:9] == f"{crc32(line[9:-1].encode()):08x} "
