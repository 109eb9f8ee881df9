"""The processes of a run, called ranks, and the few things that they tell each other.

PyTorch's `DistributedDataParallel` is not used. It averages over ranks, where a step's mean is over all its clips
wherever they lie; it wants each parameter to get a gradient in each backward, where a batch without audio gives none to
some; it owns the forward, which here is cut into policies over blocks (recompute, streaming, compiled regions); and
nothing but the adapter has gradients: for a LoRA of 214 M weights one sum after the last backward, 0.86 GB, 2.7 ms over
NVLink of two H200s in a step of half a second. Over PCIe it would be 35 to 70 ms: there it would pay to sum beside the
backward, which is not built.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ltx_core.engine.contiguous import pieces
from ltx_core.errors import CheckpointError, ConfigError, Stopped, TransientError
from ltx_core.io.digest import text_digest
from ltx_core.progress import Progress

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def fingerprint(parts: Sequence[str | Mapping[str, Tensor]]) -> int:
    """63 bits. Equal parts give equal numbers; tensors that differ in one bit give others."""
    names = [part if isinstance(part, str) else _tensors(part) for part in parts]
    return int(text_digest(*names)[:16], 16) >> 1


def _tensors(tensors: Mapping[str, Tensor]) -> str:
    """Names and the sum of each tensor's bits, read as integers."""
    if not tensors:
        return ""
    bits = [tensor.detach().contiguous().view(INTEGERS[tensor.element_size()]) for tensor in tensors.values()]
    sums = torch.stack([part.sum(dtype=torch.int64) for part in bits]).tolist()
    return repr(sorted(zip(tensors, sums, strict=True)))


BUCKET_SIZE = 2**25
"""Gradients summed at once: 128 MiB in float32, enough to fill a link and little beside the weights."""
Item = TypeVar("Item")


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run. Alone, every method is what one process would do without it.

    All ranks call the same methods in the same order. Tensors on the CPU go over gloo, those on a GPU over NCCL.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """True if this one writes and reports."""
        return self.rank == 0

    def part(self, items: Sequence[Item]) -> Sequence[Item]:
        """Those of `items` that are this rank's to do: the first, and then every `size`-th."""
        return items[self.rank :: self.size]

    def sum(self, values: Tensor) -> Tensor:
        """`values` summed over ranks, in place.

        Raises:
            TransientError: another rank is gone.
        """
        if self.size > 1:
            with self._others():
                dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set anywhere.

        Raises:
            TransientError: another rank is gone.
        """
        return flag if self.size == 1 else bool(self.sum(torch.tensor(int(flag))).item())

    def wait(self) -> None:
        """Go on when every rank has come here.

        Raises:
            TransientError: another rank is gone.
        """
        self.any(False)

    def stop_if_asked(self, progress: Progress, what: str) -> None:
        """Leave here, all together, if any rank was asked to.

        Raises:
            Stopped: the work was asked to stop.
            TransientError: another rank is gone.
        """
        if self.any(progress.stopping):
            raise Stopped(f"stopped while {what}; what was finished is kept, run again to go on")

    def check_equal(self, what: str, *parts: str | Mapping[str, Tensor]) -> None:
        """See that every rank has the same strings and tensors.

        Raises:
            CheckpointError: one has others; says which.
            TransientError: another rank is gone.
        """
        if self.size == 1:
            return
        own = torch.zeros(self.size, dtype=torch.int64)
        own[self.rank] = fingerprint(parts)
        found = self.sum(own).tolist()
        if odd := [rank for rank, value in enumerate(found) if value != found[0]]:
            raise CheckpointError(
                f"ranks {odd} have another {what} than rank 0. All must read the same workspace, run the same version "
                f"and compute alike; nothing was written. Run again to go on from the last checkpoint."
            )

    def add_gradients(self, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        """Leave on every rank the sum of all ranks' gradients; a parameter that has none anywhere keeps none.

        Summed in float32, whatever the gradients are.

        Raises:
            TransientError: another rank is gone.
        """
        if self.size == 1:
            return
        present = self.sum(torch.tensor([p.grad is not None for p in parameters.values()], dtype=torch.int64))
        gradients = []
        for parameter, ranks_with in zip(parameters.values(), present.tolist(), strict=True):
            if ranks_with:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        for bucket in _buckets(gradients):
            if bucket[0].dtype == torch.float32 and len(whole := pieces(bucket)) == 1:
                self.sum(whole[0])  # as a graph's gradients lie
                continue
            flat = self.sum(torch.cat([gradient.reshape(-1).float() for gradient in bucket]))
            parts = flat.split([gradient.numel() for gradient in bucket])
            torch._foreach_copy_(bucket, [part.view_as(g) for part, g in zip(parts, bucket, strict=True)])

    @contextmanager
    def _others(self) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise TransientError(
                f"rank {self.rank} of {self.size} lost the others: one of them ended or cannot be reached "
                f"({str(error).splitlines()[0]}). Run again to go on from the last checkpoint."
            ) from error


ALONE = Ranks()
"""One process."""


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for gradient in gradients:
        if bucket and sum(g.numel() for g in bucket) + gradient.numel() > BUCKET_SIZE:
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket


RANK, WORLD_SIZE, LOCAL_RANK = "RANK", "WORLD_SIZE", "LOCAL_RANK"
MASTER_ADDRESS, MASTER_PORT = "MASTER_ADDR", "MASTER_PORT"
WAIT = timedelta(minutes=30)
"""Time that a rank waits for another that lives: one may still read its weights from a cold disk."""


def is_one_of_several() -> bool:
    """Return whether the environment says that this process is a rank among others."""
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
