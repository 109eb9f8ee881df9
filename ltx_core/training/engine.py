"""The engine's options as the settings of a run mean them on a device."""

from pathlib import Path
from typing import Literal

from ltx_core.engine.footprint import GIB
from ltx_core.engine.options import EngineOptions, LayerChoice
from ltx_core.errors import ConfigError
from ltx_core.training.config import TrainSettings
from ltx_core.training.crepa_settings import check_block
from ltx_core.training.tread import block_routes

Switch = Literal["auto", "on", "off"]
PLANNED = ("recompute", "activation_budget", "activation_offload", "streamed_blocks")
"""Settings whose `auto` the memory plan replaces for a GPU."""


def engine_options(
    settings: TrainSettings,
    *,
    device: str,
    num_blocks: int,
    folder: Path | None,
    sharded: bool = False,
    layers: LayerChoice | None = None,
) -> EngineOptions:
    """What the settings ask for. `auto` compiles and captures graphs on CUDA devices alone. `folder` is for `disk`.
    `auto` of what is planned changes nothing on the CPU; for a GPU the memory plan has replaced it.
    `layers` is what a comparison chose for `low_precision: auto`; until there is one, 8 bits hold weights alone.
    Blocks that are `sharded` among GPUs are gathered by hooks, which neither a compiled block nor a graph takes along.

    Raises:
        ConfigError: graphs without a CUDA device, options that exclude each other, routes or a tap at blocks that are
            not there, or an `auto` that nobody planned.
    """
    on_gpu = device.startswith("cuda")
    block_routes(settings.tread_routes, num_blocks)  # refused here, before anything is loaded
    if settings.crepa is not None:
        check_block(settings.crepa, num_blocks)
    if settings.cuda_graphs == "on" and not on_gpu:
        raise ConfigError(f"cuda_graphs is on but the device is {device}; set it to auto or off")
    if sharded:
        _check_sharded(settings)
    compiled = _on(settings.compile_blocks, on_gpu and not sharded)
    from_disk = settings.stream_from == "disk"
    if on_gpu and (unplanned := [name for name in PLANNED if getattr(settings, name) == "auto"]):
        raise ConfigError(f"auto is left in {unplanned}; plan it first (ltx_core.training.memory_plan.planned)")
    streamed = 0 if settings.streamed_blocks == "auto" else settings.streamed_blocks
    chosen = {"products": LayerChoice("all"), "auto": layers}.get(settings.low_precision) or LayerChoice()
    return EngineOptions(
        precision=settings.base_precision,
        products=chosen.products,
        native_layers=chosen.native,
        low_backward=settings.low_precision_backward,
        streamed_blocks=num_blocks if streamed == "all" else streamed,
        stream_folder=folder if from_disk else None,
        recompute=0.0 if settings.recompute == "auto" else settings.recompute,
        activation_budget=1.0 if settings.activation_budget == "auto" else settings.activation_budget,
        activation_offload=0 if settings.activation_offload == "auto" else round(settings.activation_offload * GIB),
        fused=compiled,
        compiled=compiled,
        graphs=_on(settings.cuda_graphs, on_gpu and not from_disk and not sharded),
    )


def _check_sharded(settings: TrainSettings) -> None:
    wrong = {
        "base_precision": settings.base_precision != "native",
        "streamed_blocks": settings.streamed_blocks not in (0, "auto"),
        "activation_offload": settings.activation_offload not in (0, "auto"),
        "compile_blocks": settings.compile_blocks == "on",
        "cuda_graphs": settings.cuda_graphs == "on",
        "lycoris.dora_wd": settings.lycoris is not None and settings.lycoris.dora_wd,
    }
    if named := [name for name, given in wrong.items() if given]:
        raise ConfigError(
            f"memory.sharding is full and {', '.join(named)} is set; they exclude each other. Sharding is for a base "
            f"in full precision that fits no GPU: 8-bit weights or streamed blocks need no sharding."
        )


def _on(switch: Switch, automatic: bool) -> bool:
    return automatic if switch == "auto" else switch == "on"
