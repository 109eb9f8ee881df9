"""Become a rank: read what torchrun, or our own launcher, says in the environment, and meet the others."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from ltx_core.distributed.ranks import ALONE, Ranks
from ltx_core.errors import ConfigError, TransientError

RANK, WORLD_SIZE, LOCAL_RANK = "RANK", "WORLD_SIZE", "LOCAL_RANK"
MASTER_ADDRESS, MASTER_PORT = "MASTER_ADDR", "MASTER_PORT"
WAIT = timedelta(minutes=30)
"""How long a rank waits for another that lives: one may still read its weights from a cold disk."""


def is_one_of_several() -> bool:
    """Whether the environment says that this process is a rank among others."""
    return int(os.environ.get(WORLD_SIZE, "1")) > 1


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Meet the other ranks and part from them at the end; `ALONE` if the environment names no others.

    `device` is `cuda` or `cpu`; on `cuda` each rank takes the GPU of its number on its machine as current device.

    Raises:
        ConfigError: the environment is incomplete, or the machine has fewer GPUs than ranks.
        TransientError: the others cannot be reached.
    """
    if not is_one_of_several():
        yield ALONE
        return
    if missing := [name for name in (RANK, LOCAL_RANK, MASTER_ADDRESS, MASTER_PORT) if name not in os.environ]:
        raise ConfigError(f"{WORLD_SIZE} is set but {missing} are not; start the ranks with torchrun")
    ranks = Ranks(int(os.environ[RANK]), int(os.environ[WORLD_SIZE]))
    backend = "gloo"
    if device == "cuda":
        _take_gpu(int(os.environ[LOCAL_RANK]))
        backend = "cpu:gloo,cuda:nccl"
    try:
        dist.init_process_group(backend, rank=ranks.rank, world_size=ranks.size, timeout=WAIT)
    except RuntimeError as error:
        raise TransientError(
            f"rank {ranks.rank} of {ranks.size} cannot reach {os.environ[MASTER_ADDRESS]}:{os.environ[MASTER_PORT]} "
            f"({str(error).splitlines()[0]}); see that every rank runs and the port is open, then run again"
        ) from error
    try:
        yield ranks
        ranks.wait()
    finally:
        dist.destroy_process_group()


def _take_gpu(local_rank: int) -> None:
    found = torch.cuda.device_count()
    if local_rank >= found:
        raise ConfigError(
            f"local rank {local_rank} wants a GPU of its own, and this machine shows {found}; lower memory.num_gpus or "
            f"torchrun's --nproc-per-node, or set CUDA_VISIBLE_DEVICES"
        )
    torch.cuda.set_device(local_rank)
