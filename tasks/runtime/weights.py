"""The weights of a run: found and downloaded once, opened once a process, known by content."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from ltx_core.checkpoint import source
from ltx_core.checkpoint.complete import check_fit, check_model, check_text_encoder
from ltx_core.checkpoint.model import Model
from ltx_core.checkpoint.text_encoder import open_text_encoder
from ltx_core.errors import CheckpointError, ConfigError
from ltx_core.hub.repository import PendingFile, Repository, is_repository, path_or_repository
from ltx_core.io.atomic import find_whole
from ltx_core.io.digest import DigestMemo, FileState
from ltx_core.progress import SILENT, Progress
from tasks.runtime.shared import ModelConfig

WANTED = {
    "checkpoint": "a combined .safetensors file, a folder, or a repository on the hub such as Lightricks/LTX-2",
    "text_encoder": "the folder or repository of Gemma 3, or the text encoder file of LTX-2.5",
}
"""The kinds of location that an option may name, by option."""


def check_weights_here(config: ModelConfig) -> None:
    """See, from headers and without the network, that what is named on this machine is there, whole, and fits.

    Raises:
        LtxError: a location leads nowhere, or what lies here is of another kind, incomplete, or does not fit.
    """
    _check_locations(config)
    encoder = None if config.text_encoder is None else _encoder_place(config)
    if isinstance(_place(config), Path):
        if isinstance(encoder, Repository):
            _opened_alone(config)
        else:
            _check_whole(config)
    elif isinstance(encoder, Path):
        check_text_encoder(open_text_encoder(encoder))


def pending_weights(config: ModelConfig) -> tuple[PendingFile, ...]:
    """Return what `prepare_weights` would download, with sizes where the hub tells them.

    Raises:
        LtxError: a location leads nowhere, or the hub cannot be asked for what is not here.
    """
    _check_locations(config)
    place = _place(config)
    encoder = place if config.text_encoder is None else _encoder_place(config)
    if isinstance(place, Path) and isinstance(encoder, Path):
        return ()
    from ltx_core.checkpoint.hub import has_text_encoder, pending_model, pending_text_encoder

    files = () if isinstance(place, Path) else pending_model(place, config.flavour)
    if isinstance(encoder, Path) or (config.text_encoder is None and not has_text_encoder(encoder, config.flavour)):
        return files
    return (*files, *pending_text_encoder(encoder))


def prepare_weights(config: ModelConfig, progress: Progress = SILENT) -> ModelConfig:
    """Download what is missing and see, from headers alone, that all belongs together, before anything is computed.

    Returns:
        The same weights, named so that whoever opens them later, in whatever process, gets these and asks no network:
        repositories by their commit.

    Raises:
        LtxError: something is missing, of another kind, does not fit, or cannot be downloaded.
    """
    _check_locations(config)
    pinned = _downloaded(config, progress)
    _check_whole(pinned)
    return pinned


def open_model(config: ModelConfig) -> Model:
    """The model with its text encoder; headers are read again only if a file changed. Nothing is downloaded.

    Raises:
        CheckpointError: something is missing or of another kind, or tensors are not those that the config says.
        ConfigError: no text encoder is named and none lies with the model.
    """
    model = _opened_alone(config)
    if config.text_encoder is not None:
        return _with_encoder(model, source.locate_text_encoder(_encoder_place(config, here_only=True)))
    if beside := source.text_encoder_beside(model):
        return _with_encoder(model, beside)
    raise ConfigError(
        f"model.text_encoder is not set and {model.path} has none in it or beside it; set it to "
        + (
            "the text encoder file of the LTX-2.5 pack"
            if model.generation == "2.5"
            else "the folder or repository of Gemma 3 12B (google/gemma-3-12b-it-qat-q4_0-unquantized)"
        )
    )


def component_identities(config: ModelConfig, memo: DigestMemo, *components: str) -> dict[str, str]:
    """Digest of each named component of the model; `text_encoder` and `tokenizer` are those of its text encoder.

    Raises:
        LtxError: as for `open_model`.
    """
    model, found = open_model(config), {}
    if not {"text_encoder", "tokenizer"}.isdisjoint(components):
        found = model.encoder.identities(memo)
    if not found.keys() >= set(components):
        found = found | model.identities(memo)
    memo.save()
    return {name: found[name] for name in components}


def _downloaded(config: ModelConfig, progress: Progress) -> ModelConfig:
    place, encoder, revision = _place(config), config.text_encoder, config.revision
    if encoder is not None:
        encoder = str(source.locate_text_encoder(_encoder_place(config), progress))
    if isinstance(place, Repository):
        from ltx_core.checkpoint.hub import has_text_encoder
        from ltx_core.hub.client import commit_of

        revision = commit_of(source.locate(place, config.flavour, progress)[0])
        if encoder is None and has_text_encoder(place, config.flavour):
            encoder = str(source.locate_text_encoder(place, progress))
    return config.model_copy(update={"revision": revision, "text_encoder": encoder})


def _check_whole(config: ModelConfig) -> None:
    model = open_model(config)
    check_fit(model, model.encoder)


def _check_locations(config: ModelConfig) -> None:
    """Tell which option leads nowhere before the hub is asked for what was meant as a path."""
    for name, kinds in WANTED.items():
        location = getattr(config, name)
        if location is not None and not Path(location).exists() and not is_repository(location):
            raise CheckpointError(f"model.{name} {location} is not there; set it to {kinds}")


def _place(config: ModelConfig, *, here_only: bool = False) -> source.Place:
    return path_or_repository(config.checkpoint, config.revision, here_only=here_only)


def _encoder_place(config: ModelConfig, *, here_only: bool = False) -> source.Place:
    """The revision is the checkpoint's; it holds for the text encoder too if that is in the same repository."""
    revision = config.revision if config.text_encoder == config.checkpoint else None
    return path_or_repository(str(config.text_encoder), revision, here_only=here_only)


def _opened_alone(config: ModelConfig) -> Model:
    """The model without the text encoder that the configuration names."""
    place = _place(config, here_only=True)
    return _checked(place, config.flavour, _state(*source.locate(place, config.flavour)))


@lru_cache(maxsize=4)
def _checked(place: source.Place, flavour: str | None, _state: tuple[tuple[str, FileState], ...]) -> Model:
    model = source.open_model(place, flavour)
    check_model(model)
    return model


def _with_encoder(model: Model, encoder: Path) -> Model:
    return _joined(model, encoder, _state(encoder, encoder.parent / "tokenizer"))


@lru_cache(maxsize=4)
def _joined(model: Model, encoder: Path, _state: tuple[tuple[str, FileState], ...]) -> Model:
    return replace(model, text_encoder=encoder)


def _state(*paths: Path) -> tuple[tuple[str, FileState], ...]:
    """Return what changes when a file that is opened is replaced: names and states."""
    files = [file for path in paths for file in (find_whole(path, "**/*") if path.is_dir() else (path,))]
    kept = [file for file in files if file.suffix in (".json", ".safetensors", ".model") and file.is_file()]
    return tuple((str(file), FileState.of(file)) for file in sorted(kept))
