"""Rounding up or down by chance, so that what is too small for one step is not lost over many."""

import torch
from torch import Tensor

from ltx_core.files.digest import text_digest

LOW_BITS = 16
"""Bits of a float32 that a bfloat16 lacks."""


def step_generator(seed: int, step: int, device: torch.device) -> torch.Generator:
    """A generator whose stream is fixed by seed and step, so that a resumed run rounds as an undisturbed one."""
    digest = text_digest("rounding", str(seed), str(step))
    return torch.Generator(device).manual_seed(int(digest[:16], 16) >> 1)  # 63 bits: seeds are signed


def stochastic_bf16(values: Tensor, generator: torch.Generator) -> Tensor:
    """Round float32 to one of its two bfloat16 neighbours; the nearer the likelier, so the mean is the value.

    Adding uniform noise below the last kept bit and cutting does that for both signs (Zamirai et al., arXiv
    2010.06192).
    """
    noise = torch.randint(1 << LOW_BITS, values.shape, generator=generator, device=values.device, dtype=torch.int32)
    bits = noise.add_(values.contiguous().view(torch.int32))
    return bits.bitwise_and_(-1 << LOW_BITS).view(torch.float32).bfloat16()
