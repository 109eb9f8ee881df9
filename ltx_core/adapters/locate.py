"""Where a published adapter comes from: a file, a folder, or the hub. No torch.

The hub's client is imported only where it is asked: it costs every process a fifth of a second.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from ltx_core.errors import CheckpointError
from ltx_core.hub.repository import PendingFile, Repository
from ltx_core.io.atomic import find_whole
from ltx_core.progress import SILENT, Progress

ON_HUB = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?::(?P<file>[\w./ -]+\.safetensors))?")
"""`owner/name:weights.safetensors`"""
DIFFUSERS_NAME = "pytorch_lora_weights.safetensors"
"""The name that diffusers gives to a LoRA by default; taken where no other is named."""


@dataclass(frozen=True)
class HubAdapter:
    """An adapter on the Hugging Face hub."""

    repository: Repository
    file: str = DIFFUSERS_NAME


def hub_adapter(text: str, revision: str | None = None, *, here_only: bool = False) -> HubAdapter | None:
    """`owner/name:weights.safetensors`, or `owner/name` for a file of diffusers' name; None for any other text."""
    found = ON_HUB.fullmatch(text)
    if found is None:
        return None
    repository = Repository(found["repository"], revision, here_only=here_only)
    return HubAdapter(repository, found["file"] or DIFFUSERS_NAME)


def locate_adapter(where: Path | HubAdapter, progress: Progress = SILENT) -> Path:
    """The file on this machine; downloaded unless it is already here, which `progress` reports in MiB.

    A folder stands for the one `.safetensors` file in it, or the one of diffusers' name.

    Raises:
        CheckpointError: there is no such file, on this machine or on the hub, or several could be meant.
        TransientError: the network or the hub failed.
        StorageError: the disk is full.
    """
    if isinstance(where, HubAdapter):
        from ltx_core.hub.client import fetch_files, reporting_bar

        (path,) = fetch_files(where.repository, [where.file], reporting_bar(progress))
        return path
    return _in_folder(where) if where.is_dir() else _file(where)


def pending_adapter(where: Path | HubAdapter) -> tuple[PendingFile, ...]:
    """Return what `locate_adapter` would download.

    Raises:
        CheckpointError, TransientError: as for `locate_adapter`.
    """
    if isinstance(where, HubAdapter):
        from ltx_core.hub.client import pending_files

        return pending_files(where.repository, [where.file])
    locate_adapter(where)
    return ()


def commit_of_adapter(path: Path) -> str | None:
    """The commit of a file that `locate_adapter` found in the hub's cache."""
    from ltx_core.hub.client import commit_of

    return commit_of(path)


def _file(path: Path) -> Path:
    if not path.is_file():
        raise CheckpointError(
            f"{path} does not exist; give a .safetensors file, a folder with one, or "
            f"`owner/name:weights.safetensors` on the hub"
        )
    return path


def _in_folder(folder: Path) -> Path:
    found = find_whole(folder, "*.safetensors")
    chosen = [path for path in found if path.name == DIFFUSERS_NAME] or found
    if len(chosen) != 1:
        names = ", ".join(path.name for path in found) or "no .safetensors file"
        raise CheckpointError(f"the folder {folder} has {names}; give the path of one file")
    return chosen[0]
