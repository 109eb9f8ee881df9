"""Small results kept one JSON file an item, by content key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ltx_core.errors import DamagedError
from ltx_core.io.json_file import read_json, write_json
from ltx_core.progress import SILENT, Progress


class ItemStore:
    """JSON values by key under one folder, fanned out by the key's first two digits."""

    def __init__(self, folder: Path, progress: Progress = SILENT) -> None:
        self.folder = folder
        self.progress = progress
        """Has a note of each damaged item."""

    def get(self, key: str) -> Any | None:
        """The value, or None if there is none; a damaged one is noted and counts as none, so that it is made anew."""
        path = self._path(key)
        if not path.exists():
            return None
        try:
            return read_json(path)["value"]
        except DamagedError as error:
            self.progress.note(f"{error.found}; it is made again")
            return None

    def put(self, key: str, value: Any) -> None:
        """Keep a value.

        Raises:
            StorageError: the disk is full.
        """
        write_json(self._path(key), {"value": value})

    def get_or_compute(self, key: str, compute: Callable[[], Any], *, anew: bool = False) -> tuple[Any, bool]:
        """The value, computed and kept if there is none or it is wanted `anew`; and whether it was computed now.

        Raises:
            StorageError: the disk is full; and whatever `compute` raises, of which nothing is kept.
        """
        kept = None if anew else self.get(key)
        if kept is not None:
            return kept, False
        value = compute()
        self.put(key, value)
        return value, True

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"
