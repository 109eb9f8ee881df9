"""Files in formats of others (mp4, safetensors) with their digest in a small file beside them."""

from pathlib import Path

from ltx_core.errors import DamagedError
from ltx_core.files.digest import file_digest
from ltx_core.files.json_file import read_json, write_json


def voucher(path: Path) -> Path:
    """The file that holds the digest of `path`."""
    return path.with_name(f"{path.name}.json")


def vouch(path: Path) -> None:
    """Say that `path` is as it should be, which only who wrote it knows.

    Raises:
        StorageError: the disk is full.
    """
    write_json(voucher(path), {"digest": file_digest(path)})


def is_vouched(path: Path) -> bool:
    """Whether `path` is there, and still what was written."""
    try:
        return path.is_file() and read_json(voucher(path))["digest"] == file_digest(path)
    except DamagedError:
        return False
