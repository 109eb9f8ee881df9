"""The runs of validation renders: without adapters, and with each of the configured sets. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ltx_core.files.digest import DigestMemo
from ltx_core.lora.adapter import Adapter
from ltx_core.lora.locate import commit_of_adapter, locate_adapter, pending_adapter
from ltx_core.lycoris.fit import check_adapter, is_lycoris_file
from ltx_core.progress import Progress
from tasks.adapter_config import AdapterConfig
from tasks.render_config import RenderValidationConfig
from tasks.render_release import in_numbers
from tasks.sampling_config import SamplingConfig
from tasks.shared import ModelConfig, Shared
from tasks.weights import open_weights

if TYPE_CHECKING:
    from ltx_core.checkpoint.pending import PendingFile


@dataclass(frozen=True)
class RenderRun:
    """Everything is rendered once in each run."""

    name: str
    """Empty for the run without adapters."""
    sampling: SamplingConfig
    adapters: tuple[Adapter, ...]
    base: bool
    """Whether the base model is rendered too."""
    lora: bool
    """Whether the trained LoRA is rendered."""


def render_runs(config: RenderValidationConfig, model: ModelConfig, memo: DigestMemo) -> list[RenderRun]:
    """Every run, its adapters found and known by content, its guidance in numbers; `prepare_adapters` has downloaded
    them.

    Raises:
        CheckpointError: an adapter is gone.
    """
    own = in_numbers(config, model)
    runs = [RenderRun("", own, (), base=config.render_base, lora=True)] if config.render_without_adapters else []
    for run in config.adapters:
        adapters = tuple(_located(adapter, memo) for adapter in run.adapters)
        sampling = in_numbers(run.over(config), model)
        runs.append(RenderRun(run.name, sampling, adapters, base=run.base, lora=run.lora))
    memo.save()
    return runs


def check_adapters(config: RenderValidationConfig) -> None:
    """See, without the network, that adapters which are named by a path are there and have a header.

    Raises:
        CheckpointError: one is not, or has not; names it.
    """
    for path in dict.fromkeys(adapter.path for run in config.adapters for adapter in run.adapters):
        if path is not None:
            is_lycoris_file(locate_adapter(path))


def pending_adapters(config: RenderValidationConfig) -> "tuple[PendingFile, ...]":
    """Adapters that would have to be downloaded.

    Raises:
        CheckpointError, TransientError: one is not there, here or on the hub.
    """
    places = dict.fromkeys(adapter.place() for run in config.adapters for adapter in run.adapters)
    return tuple(file for place in places for file in pending_adapter(place))


def prepare_adapters(config: RenderValidationConfig, shared: Shared, progress: Progress) -> RenderValidationConfig:
    """Download what is missing and see, from headers alone, that every adapter fits the transformer.

    Returns:
        The same with every adapter of the hub named by its commit, so that later no network is asked.

    Raises:
        CheckpointError, TransientError, StorageError: one is missing or does not fit; names it.
    """
    if not config.adapters:
        return config
    shapes = open_weights(shared.model).checkpoint.shapes("transformer")
    layers = {name.removesuffix(".weight"): shape for name, shape in shapes.items() if name.endswith(".weight")}

    def prepared(adapter: AdapterConfig) -> AdapterConfig:
        path = locate_adapter(adapter.place(), progress)
        check_adapter(path, layers)
        return adapter.model_copy(update={"revision": commit_of_adapter(path) if adapter.hub else None})

    runs = (run.model_copy(update={"adapters": tuple(map(prepared, run.adapters))}) for run in config.adapters)
    return config.model_copy(update={"adapters": tuple(runs)})


def observed_adapters(config: RenderValidationConfig, memo: DigestMemo) -> list[Mapping[str, Any]]:
    """What decides the renders of each run, by content: not where an adapter's file lies."""
    found: list[Mapping[str, Any]] = []
    for run in config.adapters:
        adapters = [_located(adapter, memo) for adapter in run.adapters]
        settings = run.model_dump(mode="json", exclude={"adapters"}, exclude_none=True)
        found.append(settings | {"adapters": [[one.digest, one.strength] for one in adapters]})
    memo.save()
    return found


def _located(adapter: AdapterConfig, memo: DigestMemo) -> Adapter:
    path = locate_adapter(adapter.place(here_only=True))
    return Adapter(path, memo.get(path), adapter.strength)
