"""A location of weights, as a user gives it: a path on this machine, or a repository on the hub. No torch, no network.

The hub's client lies behind `ltx_core/hub/client.py`, imported where something is not here: it costs every process a
fifth of a second.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltx_core.errors import CheckpointError
from ltx_core.progress import Progress

NAME = re.compile(r"[\w.-]+/[\w.-]+")
"""An owner and a name, as the hub has them; a relative path may look the same."""
WEIGHTS_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Repository:
    """A repository on the hub and where its files are kept here."""

    name: str
    revision: str | None = None
    """Branch, tag or commit; default main."""
    cache: Path | None = None
    """Default: the cache that all Hugging Face tools share."""
    here_only: bool = False
    """Take what was downloaded before and ask nobody."""

    def asked(self, revision: str | None = None) -> dict[str, Any]:
        """Return how the client is asked for it."""
        return {
            "repo_id": self.name,
            "revision": revision or self.revision,
            "cache_dir": self.cache,
            "local_files_only": self.here_only,
        }


@dataclass(frozen=True)
class PendingFile:
    """A file on the hub that is not here."""

    repository: str
    name: str
    size: int | None
    """Bytes, where the hub says."""


def absolute_location(location: str, base: Path) -> str:
    """The absolute path that `location` is, seen from `base`; or itself, if it can only be a repository.

    What exists here is a path. What does not is a repository if it looks like one, is no file's name, and its first
    part is no folder here: so a misspelt path below an existing folder is reported as such.
    """
    path = base / Path(location).expanduser()
    if not path.exists() and is_repository(location) and not (base / location.partition("/")[0]).is_dir():
        return location
    return str(path.resolve())


def is_repository(location: str) -> bool:
    """Return whether a location that does not exist here may be on the hub."""
    looks_like_one = NAME.fullmatch(location) is not None
    return looks_like_one and not location.startswith(".") and not location.endswith(WEIGHTS_SUFFIX)


def path_or_repository(location: str, revision: str | None = None, *, here_only: bool = False) -> Path | Repository:
    """The path that `location` is, if something is there or it can be no repository; else the repository."""
    path = Path(location).expanduser()
    return Repository(location, revision, None, here_only) if not path.exists() and is_repository(location) else path


def model_place(option: str, location: str, revision: str | None, wanted: str) -> Path | Repository:
    """The folder of a model here, or the repository that has it. `wanted` says for people what the option may name.

    Raises:
        CheckpointError: the location leads nowhere.
    """
    place = path_or_repository(location, revision)
    if isinstance(place, Path) and not place.exists():
        raise CheckpointError(f"{option} {location} is not there; set it to {wanted}")
    return place


def pending_of_model(
    place: Path | Repository, allow: Sequence[str], ignore: Sequence[str] = ()
) -> tuple[PendingFile, ...]:
    """Return the files that `fetched_model` would download.

    Raises:
        CheckpointError, TransientError: there is no such repository, or it cannot be asked.
    """
    if isinstance(place, Path):
        return ()
    from ltx_core.hub.client import pending_folder

    return pending_folder(place, allow, ignore)


def fetched_model(place: Path | Repository, allow: Sequence[str], ignore: Sequence[str], progress: Progress) -> Path:
    """The folder of a model on this machine, downloaded if need be: files that match `allow` and not `ignore`.

    Raises:
        CheckpointError, TransientError, StorageError: it is not there, or cannot be fetched.
    """
    if isinstance(place, Path):
        return place
    from ltx_core.hub.client import fetch_folder, reporting_bar

    return fetch_folder(place, allow, ignore, reporting_bar(progress))
