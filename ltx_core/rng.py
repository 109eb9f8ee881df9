"""Randomness that is a function of what it is for, never of what was drawn before.

A draw is named by the seed, the occurrence, the clip and its purpose. So it does not depend on world size, on the other
clips of a batch, on loader workers or on restarts.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from ltx_core.io.digest import text_digest


def named_generator(*name: str | int) -> torch.Generator:
    """A CPU generator whose stream is fixed by `name`; draw on the CPU, then move, so that devices agree."""
    seed = int(text_digest(*(str(part) for part in name))[:16], 16) >> 1  # 63 bits: seeds are signed
    return torch.Generator().manual_seed(seed)


def occurrence_generator(seed: int, occurrence: int, clip_id: str, purpose: str) -> torch.Generator:
    """The generator of one purpose (`noise/video`, `sigma/audio`, ...) at one occurrence of one clip."""
    return named_generator("visit", seed, occurrence, clip_id, purpose)


@contextmanager
def kept_generators() -> Iterator[None]:
    """Leave the global generators of Python, NumPy and PyTorch, on the CPU and on every GPU in use, as they were.

    Nothing here draws from them; a library that is called inside may.
    """
    own, numpys = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(own)
        np.random.set_state(numpys)
