"""The frozen base cut among ranks, for when it fits no single GPU: each holds a part of every block's weights.

PyTorch's FSDP2 (`fully_shard`) gathers a block's weights before it runs, in the forward and again for the backward, and
lets go of them after. Only blocks are cut: what lies around them is small. The adapter is not cut: each rank holds all
of it and its gradients are summed as without sharding, so steps, checkpoints and exports are the same.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from ltx_core.distributed.ranks import Ranks
from ltx_core.errors import ConfigError

AHEAD = 1
"""Blocks gathered while another computes; each costs its full size."""


def shard_base(transformer: Any, ranks: Ranks, device: str) -> None:
    """Cut the frozen weights of the blocks among ranks and bring the rest to `device`; adapters must be on already.

    The transformer may lie on the CPU: blocks move one by one, so no GPU ever holds more than its part and a block.

    Raises:
        ConfigError: there is one rank only.
    """
    if ranks.size == 1 or not dist.is_initialized():
        raise ConfigError(
            "memory.sharding is 'full' with one GPU, which would hold all parts; set memory.num_gpus to 2 or more, "
            "gradient_accumulation_steps to a multiple of it, or memory.sharding to 'none'"
        )
    mesh = init_device_mesh(device, (ranks.size,))
    blocks = list(transformer.transformer_blocks)
    for block in blocks:
        trained = {parameter for parameter in block.parameters() if parameter.requires_grad}
        fully_shard(block, mesh=mesh, reshard_after_forward=True, ignored_params=trained)
    inside = {parameter for block in blocks for parameter in block.parameters()}
    outside = {parameter for parameter in transformer.parameters() if parameter not in inside}
    fully_shard(transformer, mesh=mesh, reshard_after_forward=True, ignored_params=outside | _whole(transformer))
    _bring(transformer, torch.device(device))
    _begin(transformer)
    for number, block in enumerate(blocks):
        block.set_modules_to_forward_prefetch(blocks[number + 1 : number + 1 + AHEAD])
        block.set_modules_to_backward_prefetch(blocks[max(number - AHEAD, 0) : number][::-1])


def _begin(transformer: Any) -> None:
    """Let all blocks share FSDP2's streams, so that one can be gathered while another computes.

    FSDP2 does that at the first forward of the outermost module that it was given. The denoiser calls the blocks
    itself, so that forward may never come.
    """
    fully_shard.state(transformer)._lazy_init()  # type: ignore[attr-defined]  # set by a decorator


def _whole(module: torch.nn.Module) -> set[torch.nn.Parameter]:
    return {parameter for parameter in module.parameters() if not isinstance(parameter, DTensor)}


def _bring(module: torch.nn.Module, device: torch.device) -> None:
    """Move what is not cut."""
    for parameter in _whole(module):
        parameter.data = parameter.data.to(device)
    for owner in module.modules():
        for name, buffer in owner.named_buffers(recurse=False):
            owner.register_buffer(name, buffer.to(device), persistent=name not in owner._non_persistent_buffers_set)
