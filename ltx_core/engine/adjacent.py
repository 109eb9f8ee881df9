"""Many small tensors that lie end to end in memory, worked on as few large ones.

A LoRA on all attention of LTX-2 is 2,304 matrices. Launching work for each, or only listing them, takes the host tens
of milliseconds while the GPU waits; as one piece of memory they take one launch.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def lay_end_to_end(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Move parameters of one device and dtype into one piece of memory, in order; their values stay."""
    kinds: dict[tuple[torch.device, torch.dtype], list[torch.nn.Parameter]] = {}
    for parameter in parameters:
        kinds.setdefault((parameter.device, parameter.dtype), []).append(parameter)
    for alike in kinds.values():
        flat = torch.cat([parameter.detach().reshape(-1) for parameter in alike])
        for parameter, part in zip(alike, flat.split([p.numel() for p in alike]), strict=True):
            parameter.data = part.view(parameter.shape)


def adjacent(tensors: Sequence[Tensor]) -> Iterator[range]:
    """Indices of tensors that lie one after another in one piece of memory, run by run; each is in one of the runs."""
    begin, following = 0, (-1, -1)
    for index, tensor in enumerate(tensors):
        memory, address = tensor.untyped_storage().data_ptr(), tensor.data_ptr()
        if index and (memory, address) != following:
            yield range(begin, index)
            begin = index
        following = (memory, address + tensor.nbytes) if tensor.is_contiguous() else (-1, -1)
    if tensors:
        yield range(begin, len(tensors))


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """Adjacent tensors as one flat view of their memory; a single one as it is."""
    first = tensors[0]
    if len(tensors) == 1:
        return first
    return first.as_strided((sum(tensor.numel() for tensor in tensors),), (1,), first.storage_offset())


def pieces(tensors: Sequence[Tensor]) -> list[Tensor]:
    """All of the tensors as few flat views."""
    return [joined([tensors[index] for index in run]) for run in adjacent(tensors)]
