"""JSON: what others wrote, parsed strictly; and our own small files, each of which carries its digest.

A file of ours is an object with one more name, `sha256`: the digest of the file's name and of everything else in it.
So a changed digit, a half-written file or another file put in its place is never read as what was written.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets_spec.errors import damaged
from ltx_core.errors import CheckpointError
from ltx_core.io.atomic import write_bytes

SEAL = "sha256"


def parse_json(text: str | bytes) -> Any:
    """Any JSON value.

    Raises:
        ValueError: it is not JSON in UTF-8, an object names a key twice, or it is nested too deeply.
    """
    try:
        return json.loads(text if isinstance(text, str) else text.decode("utf-8"), object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_object(text: str | bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: as for `parse_json`, or it is another value.
    """
    value = parse_json(text)
    if not isinstance(value, dict):
        raise ValueError(f"it holds {type(value).__name__}, and an object is wanted")
    return value


def model_config(path: Path, advice: str) -> dict[str, Any]:
    """The object in a file that describes a model.

    Raises:
        CheckpointError: it cannot be read, or holds no object; says so, and the advice.
    """
    try:
        return parse_object(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); {advice}") from error


def json_bytes(path: Path, value: Mapping[str, Any], *, indent: int | None = None) -> bytes:
    """`value` as a file of ours of that name."""
    plain = json.loads(json.dumps(value))  # as a reader will find it: keys are strings
    content = {**plain, SEAL: _digest(path.name, plain)}
    return json.dumps(content, indent=indent, sort_keys=True, ensure_ascii=False).encode()


def write_json(path: Path, value: Mapping[str, Any], *, indent: int | None = None, private: bool = False) -> None:
    """Replace `path` by `value` and its digest, whole or not at all; `private`: this user alone may ever read it.

    Raises:
        StorageError: the disk is full or read-only.
    """
    write_bytes(path, json_bytes(path, value, indent=indent), private=private)


def read_json(path: Path) -> dict[str, Any]:
    """Return what `write_json` was given, as JSON has it: tuples are lists.

    Raises:
        DamagedError: the file is gone, or holds other values than were written.
    """
    try:
        content = parse_object(path.read_bytes())
    except FileNotFoundError as error:
        raise damaged(path, "it is gone") from error
    except (OSError, ValueError) as error:
        raise damaged(path, f"it cannot be read as JSON ({error})") from error
    stored = content.pop(SEAL, None)
    if stored is None:
        raise damaged(path, "it has no digest, so it is torn or of an earlier version")
    if stored != _digest(path.name, content):
        raise damaged(path, "its values are not those that were written")
    return content


def _digest(name: str, value: Mapping[str, Any]) -> str:
    text = json.dumps([name, value], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(n for n in names if names.count(n) > 1)!r} is given twice in one object; keep one")
    return found
