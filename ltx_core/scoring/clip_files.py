"""A CLIP model as a folder of transformers, here or on the hub. No torch."""

from pathlib import Path
from typing import TYPE_CHECKING

from ltx_core.checkpoint.location import is_repository
from ltx_core.errors import CheckpointError
from ltx_core.files.atomic import find_whole
from ltx_core.files.digest import DigestMemo, text_digest
from ltx_core.files.json_file import parse_object
from ltx_core.files.safetensors import read_header
from ltx_core.progress import Progress

if TYPE_CHECKING:
    from ltx_core.checkpoint.hub import Repository
    from ltx_core.checkpoint.pending import PendingFile

WEIGHTS = "model.safetensors"
READ = ("config.json", "preprocessor_config.json", WEIGHTS)
TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))
ALLOW = ("*.json", "merges.txt", WEIGHTS)
"""What is fetched of a repository."""


def check_clip(location: str) -> None:
    """See, without the network, that a model which lies here is whole.

    Raises:
        CheckpointError: it is not, or the location leads nowhere.
    """
    if Path(location).exists() or not is_repository(location):
        _checked(Path(location))


def pending_clip(location: str) -> "tuple[PendingFile, ...]":
    """What `locate_clip` would download.

    Raises:
        CheckpointError, TransientError: it is not there, here or on the hub.
    """
    if Path(location).exists() or not is_repository(location):
        _checked(Path(location))
        return ()
    from ltx_core.checkpoint.pending import pending_folder

    return pending_folder(_repository(location), ALLOW, ["*/*"])


def locate_clip(location: str, progress: Progress) -> Path:
    """The folder on this machine; a repository is downloaded first, unless it is already here.

    Raises:
        CheckpointError: no CLIP model is there, or its weights are pickled only.
        TransientError: the network or the hub failed.
    """
    if Path(location).exists() or not is_repository(location):
        return _checked(Path(location))
    from ltx_core.checkpoint.hub import fetch_folder
    from ltx_core.checkpoint.pending import reporting_bar

    return _checked(fetch_folder(_repository(location), ALLOW, ["*/*"], reporting_bar(progress)))


def clip_identity(folder: Path, memo: DigestMemo) -> str:
    """Digest of every file that is read of the folder."""
    read = sorted(path for pattern in ALLOW for path in find_whole(folder, pattern))
    return text_digest(*(part for path in read for part in (path.name, memo.get(path))))


def _repository(location: str) -> "Repository":
    from ltx_core.checkpoint.hub import Repository

    return Repository(location)


def _checked(folder: Path) -> Path:
    """The folder, if it has all that is read.

    Raises:
        CheckpointError: something is missing; says what.
    """
    missing = [name for name in READ if not (folder / name).is_file()]
    if not any(all((folder / name).is_file() for name in names) for names in TOKENIZERS):
        missing.append(TOKENIZERS[0][0])
    if missing:
        raise CheckpointError(
            f"{folder} is no CLIP model of transformers that can be read: {', '.join(missing)} missing; give such a "
            f"folder or a repository with {WEIGHTS} such as openai/clip-vit-large-patch14 (not pickled weights)"
        )
    read_header(folder / WEIGHTS)
    try:
        kind = parse_object((folder / "config.json").read_bytes()).get("model_type")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / 'config.json'} cannot be read ({error}); download it again") from error
    if kind != "clip":
        raise CheckpointError(f"{folder} is a model of type {kind!r}; a CLIP model is wanted")
    return folder
