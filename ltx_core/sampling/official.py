"""What Lightricks ships for each release of the full model: guidance, steps, compression of given pictures. No torch.

Source: the defaults of Lightricks' inference, which go by the release that a checkpoint's header names.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from ltx_core.sampling.guidance import Guidance, StreamGuidance

PUBLISHED_BLOCKS = 48
"""Of every published model; the miniature has fewer."""
NEGATIVE_PROMPT = (
    "worst quality, blurry, out of focus, jittery or inconsistent motion, flickering, distorted faces and hands, extra "
    "limbs, unreadable text, burnt colors, hard cuts, muffled or crackling sound, clipping, hiss, hum, robotic or "
    "doubled voices, echo, lips that do not match the speech, sounds that come too early or too late, sound that "
    "breaks off, missing sound"
)
"""Faults of picture and sound; in our own words."""


@dataclass(frozen=True)
class Official:
    """Settings of one release."""

    num_steps: int
    guidance: Guidance
    picture_crf: int
    """H.264 constant rate factor that a given picture is compressed at."""


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
        picture_crf=33 if release < (2, 4) else 18,
    )


def _release(text: str) -> tuple[int, int] | None:
    found = re.match(r"v?(\d+)[.-](\d+)", text)
    return None if found is None else (int(found[1]), int(found[2]))
