"""What a user's word for weights means: a path on this machine, or a repository on the hub. No torch, no network."""

import re
from pathlib import Path

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
"""An owner and a name, as the hub has them; a relative path may look the same."""
WEIGHTS_SUFFIX = ".safetensors"


def absolute_location(location: str, base: Path) -> str:
    """The absolute path that `location` is, seen from `base`; or itself, if it can only be a repository.

    What exists here is a path. What does not is a repository if it looks like one, is no file's name, and its first
    part is no folder here: so a misspelt path below an existing folder is told as such.
    """
    path = base / Path(location).expanduser()
    if not path.exists() and is_repository(location) and not (base / location.partition("/")[0]).is_dir():
        return location
    return str(path.resolve())


def is_repository(location: str) -> bool:
    """Whether a location that does not exist here may be on the hub."""
    looks_like_one = REPOSITORY.fullmatch(location) is not None
    return looks_like_one and not location.startswith(".") and not location.endswith(WEIGHTS_SUFFIX)
