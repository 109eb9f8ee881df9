"""Bring a transformer's weights to where they belong, block by block, and set its policies."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from typing import Any

import torch
from torch._dynamo import config as dynamo_config

from ltx_core.denoiser.blocks import runner_of, set_runner
from ltx_core.engine.activation_offload import ActivationOffload
from ltx_core.engine.attention import FusedAttnProcessor
from ltx_core.engine.block_offload import BlockOffload, CopyOrder
from ltx_core.engine.compiling import (
    importing_the_compiler,
    keep_compiled_functions,
    keep_rows_in_registers,
    use_quick_gelu,
)
from ltx_core.engine.contiguous import HostArena
from ltx_core.engine.low_precision import LowPrecision, QuantisedLinear, dequantise, precision_on, quantise_linears
from ltx_core.engine.options import EngineOptions, checkpointed_blocks, offloaded_blocks
from ltx_core.engine.quantised_cache import OUTSIDE, Cache, NoCache
from ltx_core.engine.runner import Forwards, PolicyRunner
from ltx_core.errors import ConfigError

BLOCKS = "transformer_blocks"
MOST_FORMS = 256
"""Forms of batch that a block may be compiled for: PyTorch stops at eight, as a guard against shapes without end, but
buckets have an end."""
Read = Callable[[Sequence[str]], Mapping[str, torch.Tensor]]
"""Tensors by their names in the module, on the device."""


def assemble(
    transformer: Any, read: Read, options: EngineOptions, *, device: torch.device, cache: Cache | None = None
) -> Any:
    """Fill a transformer that was built on the meta device; its weights are then where and in what they are to be.

    The device never holds more than the resident blocks and one more, in the precision they are stored in. What a
    `cache` of weights in 8 bits has is not read.

    Raises:
        OutOfMemory: the host has no room for the offloaded blocks.
        ConfigError: more offloaded blocks than there are.
    """
    blocks, kept = transformer.transformer_blocks, cache or NoCache()
    fill_outside(transformer, read, kept)
    offloaded = _planned_offload(options, device)
    chosen = set(offloaded_blocks(len(blocks), options.offloaded_blocks))
    with importing_the_compiler() if options.compiled else nullcontext():
        for index, block in enumerate(blocks):
            fill_block(block, index, read, options, device=device, cache=kept)
            if offloaded is not None and index in chosen:
                offloaded.adopt(index, block)
    set_runner(transformer, PolicyRunner(offloaded=offloaded))
    return transformer.requires_grad_(False).eval()


def fill_outside(transformer: Any, read: Read, cache: Cache) -> None:
    """Give a transformer that was built on the meta device all weights that are in no block."""
    empty = {n: t for n, t in transformer.state_dict().items() if not n.startswith(f"{BLOCKS}.")}
    _assign(transformer, cache.get(OUTSIDE, lambda: empty) or _put(cache, OUTSIDE, read(list(empty))))


def set_policies(transformer: Any, options: EngineOptions, offloaded: BlockOffload | None) -> None:
    """Set how the blocks run, adapters or not."""
    blocks = transformer.transformer_blocks
    if options.fused:
        for module in blocks.modules():
            if hasattr(module, "set_processor"):
                module.set_processor(FusedAttnProcessor())
        use_quick_gelu(blocks)
    if options.compiled:
        keep_rows_in_registers()
        keep_compiled_functions()
        dynamo_config.recompile_limit = max(dynamo_config.recompile_limit, MOST_FORMS)
        for block in blocks:
            block.compile(fullgraph=True, dynamic=False)  # else a second shape is compiled for any shape, and slower
    checkpointed = checkpointed_blocks(len(blocks), options.activation_checkpointing)
    keeping = [
        index for index in range(len(blocks)) if index not in checkpointed and not (offloaded and index in offloaded)
    ]
    offload = _offload(keeping, options.activation_offload, blocks[0]) if options.activation_offload else None
    forwards: Forwards = "compiled" if options.forward_only else "eager"
    set_runner(transformer, PolicyRunner(checkpointed, offloaded, options.activation_budget, offload, forwards))


def block_offload(transformer: Any) -> BlockOffload | None:
    """Return what brings this transformer's offloaded blocks, if any are."""
    runner = runner_of(transformer)
    return runner.offloaded if isinstance(runner, PolicyRunner) else None


def fill_block(
    block: Any, index: int, read: Read, options: EngineOptions, *, device: torch.device, cache: Cache | None = None
) -> None:
    """Give a block that was built on the meta device its frozen weights, in 8 bits if so asked."""
    part, cache, in_8_bits = part_of(index), cache or NoCache(), options.precision != "native"

    def wanted() -> Mapping[str, torch.Tensor]:
        empty = deepcopy(block)
        _quantise(empty, index, options, device)
        tensors: Mapping[str, torch.Tensor] = empty.state_dict()
        return tensors

    if in_8_bits and (kept := cache.get(part, wanted)) is not None:
        _quantise(block, index, options, device)
        block.load_state_dict(kept, strict=True, assign=True)
        block.requires_grad_(False)
        return
    names = [f"{BLOCKS}.{index}.{name}" for name in block.state_dict()]
    found = {name.removeprefix(f"{BLOCKS}.{index}."): tensor for name, tensor in read(names).items()}
    block.load_state_dict(found, strict=True, assign=True)
    block.requires_grad_(False)
    del found  # or a second copy of the block stays beside the one in 8 bits
    if in_8_bits:
        _quantise(block, index, options, device)
        cache.put(part, block.state_dict())


def part_of(index: int) -> str:
    """Name of a block among the parts that a cache keeps."""
    return f"block-{index:03d}"


def _quantise(block: Any, index: int, options: EngineOptions, device: torch.device) -> None:
    """The block's layers as the options say each is to be held and multiplied."""
    assert options.precision != "native"
    multiplied, held = (
        precision_on(device, options.precision, products=products, low_backward=options.low_backward)
        for products in (True, False)
    )
    prefix, others = f"{BLOCKS}.{index}.", dict[str, LowPrecision | None]()
    if isinstance(options.products, frozenset):
        others |= dict.fromkeys(options.products, multiplied)
    others |= {n.removeprefix(prefix): None for n in options.native_layers if n.startswith(prefix)}
    quantise_linears(block, multiplied if options.products == "all" else held, others)


def _put(cache: Cache, part: str, tensors: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    cache.put(part, tensors)
    return tensors


def _assign(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put tensors under their names; the others stay as they are."""
    for name, tensor in tensors.items():
        parent, _, leaf = name.rpartition(".")
        owner = module.get_submodule(parent)
        if leaf in owner._parameters:
            owner._parameters[leaf] = torch.nn.Parameter(tensor, requires_grad=False)
        else:
            owner._buffers[leaf] = tensor


def _offload(keeping: Sequence[int], num_bytes: int, block: torch.nn.Module) -> ActivationOffload:
    """For the blocks that keep activations, each an equal part."""
    if not keeping:
        raise ConfigError(
            "every block uses checkpointing or is offloaded, so none keeps activations that could wait on the host; "
            "set activation_offload to 0"
        )
    device = next(block.parameters()).device
    return ActivationOffload(device, HostArena(pinned=device.type == "cuda"), keeping, num_bytes // len(keeping))


def _planned_offload(options: EngineOptions, device: torch.device) -> BlockOffload | None:
    if not options.offloaded_blocks:
        return None
    arena = HostArena(pinned=device.type == "cuda" and options.offload_folder is None, folder=options.offload_folder)
    order: CopyOrder = "round" if options.forward_only else "there and back"
    return BlockOffload(device, arena, num_slots=options.num_slots, order=order)


def frozen_weight(layer: torch.nn.Module) -> torch.Tensor:
    """[out, in] in float32 of the layer under any adapters. Of an offloaded block: while it computes."""
    while isinstance(inner := getattr(layer, "base_layer", None), torch.nn.Module):
        layer = inner
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)  # adapters lie on linear layers alone
    return dequantise(weight, layer.scale, torch.float32) if isinstance(layer, QuantisedLinear) else weight.float()


def bring_weights(transformer: Any, module: str) -> None:
    """Copy the weights of the block that `module` lies in to the device, if they are offloaded."""
    offloaded = block_offload(transformer)
    if offloaded is None or not module.startswith(f"{BLOCKS}."):
        return
    index = int(module.split(".")[1])
    if index in offloaded:
        offloaded.enter(index)
