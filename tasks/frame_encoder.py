"""The vision encoder of `embed_frames`: found and downloaded once, seen to fit, known by content. No torch."""

from pathlib import Path
from typing import TYPE_CHECKING

from ltx_core.checkpoint.location import is_repository
from ltx_core.errors import CheckpointError
from ltx_core.progress import Progress
from ltx_core.vision.folder import FILES, StoredEncoder, check_image_size, open_encoder

if TYPE_CHECKING:
    from ltx_core.checkpoint.hub import Repository
    from ltx_core.checkpoint.pending import PendingFile

BELOW = ["*/*"]
"""Folders of a repository are left."""


def check_encoder(location: str, image_size: int) -> None:
    """See, without the network, that an encoder which lies here is one and takes pictures of that size.

    Raises:
        CheckpointError: it does not, or the location leads nowhere.
        ConfigError: the size is no multiple of its patches.
    """
    if _folder(location).exists():
        check_image_size(opened_encoder(location), image_size)
    else:
        _check_repository(location)


def pending_encoder(location: str, revision: str | None) -> "tuple[PendingFile, ...]":
    """What `fetch_encoder` would download.

    Raises:
        CheckpointError, TransientError: there is no such folder or repository.
    """
    if _folder(location).exists():
        return ()
    from ltx_core.checkpoint.pending import pending_folder

    return pending_folder(_repository(location, revision), FILES, BELOW)


def fetch_encoder(location: str, revision: str | None, image_size: int, progress: Progress) -> Path:
    """The encoder's folder on this machine, downloaded if need be, and seen to take pictures of that size.

    Raises:
        CheckpointError, TransientError, StorageError: it is not there, cannot be fetched, or is another kind of model.
        ConfigError: the size is no multiple of its patches.
    """
    folder = _folder(location)
    if not folder.exists():
        from ltx_core.checkpoint.hub import fetch_folder
        from ltx_core.checkpoint.pending import reporting_bar

        folder = fetch_folder(_repository(location, revision), FILES, BELOW, reporting_bar(progress))
    check_image_size(open_encoder(folder), image_size)
    return folder


def opened_encoder(location: str) -> StoredEncoder:
    """What `fetch_encoder` has found, by its folder.

    Raises:
        CheckpointError: it is gone.
    """
    return open_encoder(_folder(location))


def _folder(location: str) -> Path:
    return Path(location).expanduser()


def _repository(location: str, revision: str | None) -> "Repository":
    from ltx_core.checkpoint.hub import Repository

    _check_repository(location)
    return Repository(location, revision)


def _check_repository(location: str) -> None:
    if not is_repository(location):
        raise CheckpointError(
            f"embed_frames.encoder {location} is not there; set it to a transformers folder of DINOv2, or to a "
            f"repository on the hub such as facebook/dinov2-giant"
        )
