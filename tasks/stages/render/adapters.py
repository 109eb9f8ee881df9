"""Files of weights that renders are made with besides the model: adapters, and the upsampler of two-stage renders.

They are named by a path or by their place on the hub, and known by their content. No torch.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ltx_core.adapters.locate import commit_of_adapter, locate_adapter, pending_adapter
from ltx_core.adapters.lora_layout import Adapter
from ltx_core.adapters.lycoris_layout import check_adapter, is_lycoris_file
from ltx_core.checkpoint.upsampler import open_upsampler
from ltx_core.io.digest import DigestMemo
from ltx_core.progress import Progress
from ltx_core.sampling.request import Upscaling
from tasks.runtime.shared import Shared
from tasks.runtime.weights import open_model
from tasks.stages.render.config import AdapterConfig, RenderValidationConfig, UpscalingConfig, WeightsConfig

if TYPE_CHECKING:
    from ltx_core.hub.repository import PendingFile

Weights = TypeVar("Weights", bound=WeightsConfig)


def check_adapters(config: RenderValidationConfig) -> None:
    """See, without the network, that adapters which are named by a path are there and have a header.

    Raises:
        CheckpointError: one is not, or has not; names it.
    """
    for path in dict.fromkeys(adapter.path for adapter in _adapters(config)):
        if path is not None:
            is_lycoris_file(locate_adapter(path))
    if config.upscaling is not None and (path := config.upscaling.upsampler.path) is not None:
        open_upsampler(locate_adapter(path))


def _adapters(config: RenderValidationConfig) -> Iterator[AdapterConfig]:
    """Every adapter that is named somewhere."""
    for run in config.adapters:
        yield from run.adapters
    if config.upscaling is not None:
        yield from config.upscaling.adapters


def pending_adapters(config: RenderValidationConfig) -> "tuple[PendingFile, ...]":
    """Adapters that would have to be downloaded.

    Raises:
        CheckpointError, TransientError: one is not there, here or on the hub.
    """
    places = dict.fromkeys(adapter.place() for adapter in _adapters(config))
    if config.upscaling is not None:
        places |= {config.upscaling.upsampler.place(): None}
    return tuple(file for place in places for file in pending_adapter(place))


def prepare_adapters(config: RenderValidationConfig, shared: Shared, progress: Progress) -> RenderValidationConfig:
    """Download what is missing and see, from headers alone, that every adapter fits the transformer.

    Returns:
        The same with every adapter of the hub named by its commit, so that later no network is asked.

    Raises:
        CheckpointError, TransientError, StorageError: one is missing or does not fit; names it.
    """
    if not config.adapters and config.upscaling is None:
        return config
    model = open_model(shared.model)
    shapes = model.shapes("transformer")
    layers = {name.removesuffix(".weight"): shape for name, shape in shapes.items() if name.endswith(".weight")}

    def prepared(adapter: AdapterConfig) -> AdapterConfig:
        path = locate_adapter(adapter.place(), progress)
        check_adapter(path, layers)
        return _pinned(adapter, path)

    runs = (run.model_copy(update={"adapters": tuple(map(prepared, run.adapters))}) for run in config.adapters)
    upscaling = config.upscaling
    if upscaling is not None:
        path = locate_adapter(upscaling.upsampler.place(), progress)
        open_upsampler(path, model)
        update = {"upsampler": _pinned(upscaling.upsampler, path), "adapters": tuple(map(prepared, upscaling.adapters))}
        upscaling = upscaling.model_copy(update=update)
    return config.model_copy(update={"adapters": tuple(runs), "upscaling": upscaling})


def _pinned(weights: Weights, path: Path) -> Weights:
    """The same, named by the commit that was found."""
    return weights.model_copy(update={"revision": commit_of_adapter(path) if weights.hub else None})


def observed_adapters(config: RenderValidationConfig, memo: DigestMemo) -> list[Mapping[str, Any]]:
    """Return everything that decides the renders of each run, by content: an adapter's path is no part of it."""
    found: list[Mapping[str, Any]] = []
    for run in config.adapters:
        adapters = [located(adapter, memo) for adapter in run.adapters]
        settings = run.model_dump(mode="json", exclude={"adapters"}, exclude_none=True, by_alias=True)
        found.append(settings | {"adapters": [[one.digest, one.strength] for one in adapters]})
    memo.save()
    return found


def observed_upscaling(config: RenderValidationConfig, memo: DigestMemo) -> Mapping[str, Any]:
    """Return everything that decides the second half of two-stage renders, by content; nothing without one."""
    found = asked_upscaling(config, memo)
    memo.save()
    return {} if found is None else {"upscaling": [found.upsampler, found.adapters, found.sigmas]}


def asked_upscaling(config: RenderValidationConfig, memo: DigestMemo) -> Upscaling | None:
    """The second half of two-stage renders, its files known by content; None where renders have one stage.

    Raises:
        CheckpointError: a file is gone.
    """
    if config.upscaling is None:
        return None
    adapters = (located(adapter, memo) for adapter in config.upscaling.adapters)
    return Upscaling(
        upsampler=memo.get(upsampler_file(config.upscaling)),
        adapters=tuple((adapter.digest, adapter.strength) for adapter in adapters),
        sigmas=config.upscaling.sigmas,
    )


def upsampler_file(upscaling: UpscalingConfig) -> Path:
    """The latent upsampler's file, which `prepare` has brought here.

    Raises:
        CheckpointError: it is gone.
    """
    return locate_adapter(upscaling.upsampler.place(here_only=True))


def located(adapter: AdapterConfig, memo: DigestMemo) -> Adapter:
    """The adapter's file and its digest.

    Raises:
        CheckpointError: it is gone.
    """
    path = locate_adapter(adapter.place(here_only=True))
    return Adapter(path, memo.get(path), adapter.strength)


def adapter_bytes(adapters: Sequence[AdapterConfig]) -> int:
    """Of the files of a set of adapters, which `prepare` has brought here.

    Raises:
        CheckpointError: one is gone.
    """
    return sum(locate_adapter(adapter.place(here_only=True)).stat().st_size for adapter in adapters)


def upsampler_bytes(config: RenderValidationConfig, item_bytes: int) -> int:
    """Weights of the upsampler of two-stage renders, which is published in 16 bits, in a dtype of `item_bytes`. At work
    it holds less than a forward of the transformer does, and neither runs beside the other.

    Raises:
        CheckpointError: its file is gone.
    """
    return 0 if config.upscaling is None else upsampler_file(config.upscaling).stat().st_size * item_bytes // 2
