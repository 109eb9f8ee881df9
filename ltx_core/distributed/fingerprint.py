"""A number that names strings and tensors, cheap enough for every checkpoint: tensors are summed where they lie."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ltx_core.files.digest import text_digest

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
