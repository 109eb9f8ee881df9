"""Small results kept one JSON file an item, by content key."""

import json
from pathlib import Path
from typing import Any

from ltx_core.files.atomic import write_bytes


class ItemStore:
    """JSON values by key under one folder, fanned out by the key's first two digits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str) -> Any | None:
        """The value, or None if there is none; a torn file cannot exist."""
        path = self._path(key)
        return json.loads(path.read_text()) if path.exists() else None

    def put(self, key: str, value: Any) -> None:
        """Keep a value.

        Raises:
            StorageError: the disk is full.
        """
        write_bytes(self._path(key), json.dumps(value, sort_keys=True, ensure_ascii=False).encode())

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"
