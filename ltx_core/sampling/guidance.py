"""Guidance scales of each stream, and the forwards that they call for. The arithmetic is in combine.py.

Source of the defaults: Lightricks' inference. No torch here: requests are checked without loading it.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

from ltx_core.errors import ConfigError

Pass = Literal["conditional", "unconditional", "perturbed", "isolated"]
"""One forward of a step. `perturbed`: self-attention of some blocks replaced by its values (spatio-temporal guidance).
`isolated`: video and audio do not attend to each other."""


@dataclass(frozen=True, kw_only=True)
class StreamGuidance:
    """Scales of one stream; the defaults change nothing and cost nothing."""

    cfg: float = 1.0
    """Away from the negative prompt; 1 is off."""
    stg: float = 0.0
    """Away from the perturbed pass; 0 is off."""
    modality: float = 1.0
    """Away from the isolated pass, towards agreement of picture and sound; 1 is off."""
    rescale: float = 0.0
    """0 to 1: how far the result's standard deviation is brought back to that of the conditional prediction."""

    def __post_init__(self) -> None:
        for name in ("cfg", "stg", "modality", "rescale"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                raise ConfigError(f"guidance {name} is {value}; it must be a finite number not below 0")
        if self.rescale > 1:
            raise ConfigError(f"guidance rescale is {self.rescale}; it must be between 0 and 1")

    def passes(self) -> tuple[Pass, ...]:
        """The forwards that this stream needs beside the conditional one."""
        wanted: list[tuple[Pass, bool]] = [
            ("unconditional", self.cfg != 1),
            ("perturbed", self.stg != 0),
            ("isolated", self.modality != 1),
        ]
        return tuple(name for name, needed in wanted if needed)


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """Scales of both streams. Without arguments: no guidance, one forward a step."""

    video: StreamGuidance = field(default_factory=StreamGuidance)
    audio: StreamGuidance = field(default_factory=StreamGuidance)
    stg_blocks: tuple[int, ...] = ()
    """Transformer blocks (from 0) whose self-attention the perturbed pass replaces by its values."""

    def __post_init__(self) -> None:
        perturbed = bool(self.video.stg or self.audio.stg)
        if perturbed != bool(self.stg_blocks):
            raise ConfigError(
                f"guidance stg is {self.video.stg} (video) and {self.audio.stg} (audio) with stg_blocks "
                f"{self.stg_blocks}; give blocks with, and only with, a stg scale above 0"
            )

    def passes(self) -> tuple[Pass, ...]:
        """Forwards of one step, in order; only those that some stream needs."""
        needed = {*self.video.passes(), *self.audio.passes()}
        order: tuple[Pass, ...] = ("unconditional", "perturbed", "isolated")
        return ("conditional", *(name for name in order if name in needed))
