"""Randomness that is a function of what it is for, never of what was drawn before.

A draw is named by the seed, the visit, the clip and its purpose. So it does not depend on world size, on the other
clips of a batch, on loader workers or on restarts.
"""

import torch

from ltx_core.io.digest import text_digest


def named_generator(*name: str | int) -> torch.Generator:
    """A CPU generator whose stream is fixed by `name`; draw on the CPU, then move, so that devices agree."""
    seed = int(text_digest(*(str(part) for part in name))[:16], 16) >> 1  # 63 bits: seeds are signed
    return torch.Generator().manual_seed(seed)


def visit_generator(seed: int, visit: int, clip_id: str, purpose: str) -> torch.Generator:
    """The generator of one purpose (`noise/video`, `sigma/audio`, ...) at one visit of one clip."""
    return named_generator("visit", seed, visit, clip_id, purpose)
