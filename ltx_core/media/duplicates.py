"""Clips of different files that show the same thing."""

from collections import defaultdict
from collections.abc import Sequence

from datasets_spec.quarantine import Quarantined, QuarantineReason
from datasets_spec.rows import Clip
from ltx_core.media.quality import quarantined_clip

RELATIVE = 0.05
"""Share by which sharpness and motion of two encodings of one thing may differ."""
ABSOLUTE = 5e-4
"""The same, for figures near zero."""
LOUDNESS_DB = 1.5


def mark_duplicates(clips: Sequence[Clip]) -> tuple[list[Clip], list[Quarantined]]:
    """Clips to keep, sorted by `clip_id`, and those that repeat an earlier one from a file of other bytes.

    A repeat has the same perceptual hash of its middle frame, the same shape, and nearly the same figures. Files of
    equal bytes are no duplicates here: the user put them there twice, and they share their latents.
    """
    kept: list[Clip] = []
    repeats: list[Quarantined] = []
    by_hash: dict[str, list[Clip]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: clip.clip_id):
        first = next((other for other in by_hash[clip.perceptual_hash] if _repeats(clip, other)), None)
        if first is None:
            kept.append(clip)
            by_hash[clip.perceptual_hash].append(clip)
        else:
            detail = f"shows the same as {first.clip_id}, which is kept; each scene is wanted once. Remove one of them."
            repeats.append(quarantined_clip(clip, QuarantineReason.DUPLICATE, detail))
    return kept, repeats


def _repeats(clip: Clip, other: Clip) -> bool:
    return (
        clip.media_key != other.media_key
        and clip.bucket == other.bucket
        and _near(clip.sharpness, other.sharpness)
        and _near(clip.motion, other.motion)
        and abs(clip.black_fraction - other.black_fraction) <= RELATIVE
        and abs(clip.frozen_fraction - other.frozen_fraction) <= RELATIVE
        and abs(clip.loudness_db - other.loudness_db) <= LOUDNESS_DB
    )


def _near(a: float, b: float) -> bool:
    return abs(a - b) <= max(RELATIVE * max(abs(a), abs(b)), ABSOLUTE)
