"""The weights of a run: found and downloaded once, opened once a process, known by content."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ltx_core.checkpoint.complete import check_checkpoint, check_text_encoder
from ltx_core.checkpoint.identity import model_identities, text_encoder_identities
from ltx_core.checkpoint.location import is_repository
from ltx_core.checkpoint.model import Checkpoint
from ltx_core.checkpoint.source import (
    ModelSource,
    local_path,
    locate,
    locate_text_encoder,
    open_model,
    text_encoder_beside,
)
from ltx_core.checkpoint.text_encoder import open_text_encoder
from ltx_core.errors import CheckpointError, ConfigError
from ltx_core.files.atomic import find_whole
from ltx_core.files.digest import DigestMemo, FileState
from ltx_core.progress import SILENT, Progress
from ltx_core.text.fit import fits
from tasks.shared import ModelConfig

if TYPE_CHECKING:
    from ltx_core.checkpoint.pending import PendingFile

WANTED = {
    "checkpoint": "a combined .safetensors file, a folder, or a repository on the hub such as Lightricks/LTX-2",
    "text_encoder": "the folder or repository of Gemma 3, or the text encoder file of LTX-2.5",
}
"""What a location may be, by option."""


class Weights(NamedTuple):
    """What is opened of a model before anything is computed."""

    checkpoint: Checkpoint
    text_encoder: Path
    """Folder or packed file."""


def check_weights_here(model: ModelConfig) -> None:
    """See, from headers and without the network, that what is named on this machine is there, whole, and fits.

    Raises:
        LtxError: a location leads nowhere, or what lies here is of another kind, incomplete, or does not fit.
    """
    _check_locations(model)
    model_is_here = not _is_remote(_source(model))
    encoder = None if model.text_encoder is None else _encoder_source(model)
    encoder_is_here = encoder is None or not _is_remote(encoder)
    if model_is_here and encoder_is_here:
        weights = open_weights(model)
        fits(weights.checkpoint, weights.text_encoder)
    elif model_is_here:
        _open_checkpoint(model)
    elif encoder is not None and encoder_is_here:
        check_text_encoder(open_text_encoder(local_path(encoder)))


def pending_weights(model: ModelConfig) -> "tuple[PendingFile, ...]":
    """What `prepare_weights` would download, with sizes where the hub tells them.

    Raises:
        LtxError: a location leads nowhere, or the hub cannot be asked for what is not here.
    """
    _check_locations(model)
    source = _source(model)
    encoder = source if model.text_encoder is None else _encoder_source(model)
    if not _is_remote(source) and not _is_remote(encoder):
        return ()
    from ltx_core.checkpoint.hub_source import has_text_encoder, pending_model, pending_text_encoder

    files = pending_model(source) if _is_remote(source) else ()
    if not _is_remote(encoder) or (model.text_encoder is None and not has_text_encoder(source)):
        return files
    return (*files, *pending_text_encoder(encoder))


def prepare_weights(model: ModelConfig, progress: Progress = SILENT) -> ModelConfig:
    """Download what is missing and see, from headers alone, that all belongs together, before anything is computed.

    Returns:
        The same weights, named so that whoever opens them later, in whatever process, gets these and asks no network:
        repositories by their commit.

    Raises:
        LtxError: something is missing, of another kind, does not fit, or cannot be downloaded.
    """
    _check_locations(model)
    pinned = _downloaded(model, progress)
    weights = open_weights(pinned)
    fits(weights.checkpoint, weights.text_encoder)
    return pinned


def open_weights(model: ModelConfig) -> Weights:
    """The model and its text encoder; headers are read again only if a file changed. Nothing is downloaded.

    Raises:
        CheckpointError: something is missing or of another kind, or tensors are not those that the config says.
        ConfigError: no text encoder is named and none lies with the model.
    """
    checkpoint = _open_checkpoint(model)
    if model.text_encoder is not None:
        return Weights(checkpoint, locate_text_encoder(_encoder_source(model, here_only=True)))
    if beside := text_encoder_beside(checkpoint):
        return Weights(checkpoint, beside)
    raise ConfigError(
        f"model.text_encoder is not set and {checkpoint.path} has none in it or beside it; set it to "
        + (
            "the text encoder file of the LTX-2.5 pack"
            if checkpoint.generation == "2.5"
            else "the folder or repository of Gemma 3 12B (google/gemma-3-12b-it-qat-q4_0-unquantized)"
        )
    )


def component_identities(model: ModelConfig, memo: DigestMemo, *components: str) -> dict[str, str]:
    """Digest of each named component of the checkpoint.

    Raises:
        LtxError: as for `open_weights`.
    """
    identities = model_identities(open_weights(model).checkpoint, memo)
    memo.save()
    return {name: identities[name] for name in components}


def encoder_identities(model: ModelConfig, memo: DigestMemo) -> dict[str, str]:
    """Digests of the text encoder's weights and of its tokenizer.

    Raises:
        LtxError: as for `open_weights`.
    """
    identities = text_encoder_identities(open_weights(model).text_encoder, memo)
    memo.save()
    return identities


def _downloaded(model: ModelConfig, progress: Progress) -> ModelConfig:
    source, encoder, revision = _source(model), model.text_encoder, model.revision
    if encoder is not None:
        encoder = str(locate_text_encoder(_encoder_source(model), progress))
    if _is_remote(source):
        from ltx_core.checkpoint.hub import commit_of
        from ltx_core.checkpoint.hub_source import has_text_encoder

        revision = commit_of(locate(source, progress)[0])
        if encoder is None and has_text_encoder(source):
            encoder = str(locate_text_encoder(source, progress))
    return model.model_copy(update={"revision": revision, "text_encoder": encoder})


def _is_remote(source: ModelSource) -> bool:
    return not local_path(source).exists()


def _source(model: ModelConfig, *, here_only: bool = False) -> ModelSource:
    return ModelSource(model.checkpoint, model.flavour, model.revision, here_only=here_only)


def _encoder_source(model: ModelConfig, *, here_only: bool = False) -> ModelSource:
    """The revision is the checkpoint's; it holds for the text encoder too if that is in the same repository."""
    revision = model.revision if model.text_encoder == model.checkpoint else None
    return ModelSource(str(model.text_encoder), revision=revision, here_only=here_only)


def _open_checkpoint(model: ModelConfig) -> Checkpoint:
    source = _source(model, here_only=True)
    return _opened(source, _state(locate(source)))


@lru_cache(maxsize=4)
def _opened(source: ModelSource, _state: tuple[tuple[str, FileState], ...]) -> Checkpoint:
    checkpoint = open_model(source)
    check_checkpoint(checkpoint)
    return checkpoint


def _state(paths: tuple[Path, ...]) -> tuple[tuple[str, FileState], ...]:
    """What changes when a file that is opened is replaced: names and states."""
    files = [file for path in paths for file in (find_whole(path, "**/*") if path.is_dir() else (path,))]
    return tuple((str(file), FileState.of(file)) for file in sorted(files) if file.suffix in (".json", ".safetensors"))


def _check_locations(model: ModelConfig) -> None:
    """Tell which option leads nowhere before the hub is asked for what was meant as a path."""
    for name, kinds in WANTED.items():
        location = getattr(model, name)
        if location is not None and not Path(location).exists() and not is_repository(location):
            raise CheckpointError(f"model.{name} {location} is not there; set it to {kinds}")
