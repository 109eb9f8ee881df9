"""Noise levels a sampler walks through, from 1 (noise) to 0 (data), as Lightricks' inference does.

No torch here: a request is checked, and a plan printed, without loading it.
"""

import math
from typing import Literal

from ltx_core.errors import ConfigError

ScheduleName = Literal["dev", "distilled"]

DEFAULT_TOKENS = 4096
"""Lightricks' pipelines hand the scheduler no latent, which means this count whatever the clip's size."""
DISTILLED_SIGMAS = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0)
"""The sigmas of distilled checkpoints; other steps need other weights."""
UPSCALED_SIGMAS = (0.909375, 0.725, 0.421875, 0.0)
"""The last of them, at which Lightricks' pipelines go on with an upscaled latent."""
LAST_SIGMA = 0.1
"""The last sigma before 0 after stretching."""
MIN_STEPS = 2
"""With one step the stretch divides 0 by 0."""

LOW_TOKENS, HIGH_TOKENS = 1024, 4096
LOW_SHIFT, HIGH_SHIFT = 0.95, 2.05


def schedule_sigmas(name: ScheduleName, num_steps: int, num_tokens: int = DEFAULT_TOKENS) -> tuple[float, ...]:
    """`num_steps` + 1 falling sigmas, the last one 0.

    Args:
        name: `dev` for the full model, `distilled` for checkpoints distilled to eight steps.
        num_steps: forward steps; the distilled list has one length.
        num_tokens: video tokens that the dev schedule is shifted for.

    Raises:
        ConfigError: the schedule has no such number of steps, or no such name.
    """
    check_steps(name, num_steps)
    return DISTILLED_SIGMAS if name == "distilled" else dev_sigmas(num_steps, num_tokens)


def check_steps(name: str, num_steps: int) -> None:
    """True if the schedule can be walked in `num_steps`.

    Raises:
        ConfigError: it cannot; names the nearest count that works.
    """
    distilled = len(DISTILLED_SIGMAS) - 1
    if name not in ("dev", "distilled"):
        raise ConfigError(f"schedule is {name!r}; use 'dev' for the full model or 'distilled' for an eight-step one")
    if name == "distilled" and num_steps != distilled:
        raise ConfigError(f"num_steps is {num_steps}; a distilled model takes exactly {distilled}")
    if num_steps < MIN_STEPS:
        raise ConfigError(f"num_steps is {num_steps}; the schedule needs at least {MIN_STEPS}")


def dev_sigmas(num_steps: int, num_tokens: int = DEFAULT_TOKENS) -> tuple[float, ...]:
    """The full model's schedule: even steps, shifted towards noise for many tokens, stretched to end at `LAST_SIGMA`.

    Source: LTX2Scheduler of Lightricks' inference: s = 0.95 + 1.10 (tokens - 1024) / 3072,
    sigma' = e^s / (e^s + 1 / sigma - 1), then 1 - sigma' scaled so that the last non-zero sigma is 0.1.
    """
    slope = (HIGH_SHIFT - LOW_SHIFT) / (HIGH_TOKENS - LOW_TOKENS)
    odds = math.exp(LOW_SHIFT + slope * (num_tokens - LOW_TOKENS))
    even = [1 - step / num_steps for step in range(num_steps)]
    shifted = [odds / (odds + 1 / sigma - 1) for sigma in even]
    scale = (1 - shifted[-1]) / (1 - LAST_SIGMA)
    return (*(1 - (1 - sigma) / scale for sigma in shifted), 0.0)
