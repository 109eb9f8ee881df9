"""Guidance scales of each stream, and the forwards that they call for. The arithmetic is `combine` of sampler.py.

No torch here: requests are checked without loading it. The defaults are those of Lightricks' inference, which go by the
release that a checkpoint's header names.
"""

import math
import re
from dataclasses import dataclass, field
from fractions import Fraction
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
    """Away from the isolated pass, towards agreement of video and audio; 1 is off."""
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


PUBLISHED_BLOCKS = 48
"""Of every published model; the miniature has fewer."""
NEGATIVE_PROMPT = (
    "worst quality, blurry, out of focus, jittery or inconsistent motion, flickering, distorted faces and hands, extra "
    "limbs, unreadable text, burnt colors, hard cuts, muffled or crackling sound, clipping, hiss, hum, robotic or "
    "doubled voices, echo, lips that do not match the speech, sounds that come too early or too late, sound that "
    "breaks off, missing sound"
)
"""Faults of video and audio; in our own words."""


@dataclass(frozen=True)
class Official:
    """Settings of one release."""

    num_steps: int
    guidance: Guidance
    image_crf: int
    """H.264 constant rate factor that an image is compressed at before it conditions a render."""


def official(generation: str, model_version: str, num_blocks: int = PUBLISHED_BLOCKS) -> Official:
    """The settings of a release: of the newest that is not newer.

    Args:
        generation: `2.0`, `2.3` or `2.5`; decides where there is no version.
        model_version: of the checkpoint's header, such as `2.4-rc1`; may be empty.
        num_blocks: of the transformer. The perturbed block is 29 or 28 of 48, and of fewer the one as deep.
    """
    release = _release(model_version) or _release(generation) or (2, 0)
    num_steps, block = (40, 29) if release < (2, 3) else (30, 28)
    return Official(
        num_steps=num_steps,
        guidance=Guidance(
            video=StreamGuidance(cfg=3.0, stg=1.0, modality=3.0, rescale=0.7),
            audio=StreamGuidance(cfg=7.0, stg=1.0, modality=3.0, rescale=0.7),
            stg_blocks=(int(block * Fraction(num_blocks, PUBLISHED_BLOCKS)),),
        ),
        image_crf=33 if release < (2, 4) else 18,
    )


def _release(text: str) -> tuple[int, int] | None:
    found = re.match(r"v?(\d+)[.-](\d+)", text)
    return None if found is None else (int(found[1]), int(found[2]))
