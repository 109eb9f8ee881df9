"""JSON as people write it by hand: a byte order mark is no fault, the same key twice is one."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ltx_core.errors import ConfigError


def read_json(path: Path) -> Any:
    """What the file holds.

    Raises:
        ConfigError: it cannot be read, is not UTF-8 or not JSON, nests without end, or names a key twice.
    """
    try:
        return parse_json(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); a JSON file is wanted there") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid JSON: {error}") from error


def parse_json(text: str) -> Any:
    """What the text says.

    Raises:
        ValueError: it is no JSON, or names a key twice.
        RecursionError: it nests too deep.
    """
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys differ; by itself the last of two would win in silence."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} is given twice in one object; keep one of them")
    return found
