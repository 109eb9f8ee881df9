"""Selection of clips: hopeless ones, those that show the same as another, and files held out for the eval loss."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from datasets_spec.quarantine import Quarantined, QuarantineReason
from datasets_spec.rows import Clip, Media
from ltx_core.io.digest import text_digest
from ltx_core.media.clip import clip_seconds


@dataclass(frozen=True)
class QualityThresholds:
    """Above these a clip is quarantined. The defaults remove only what no one would train on."""

    max_black_fraction: float = 0.9
    max_frozen_fraction: float = 0.98


def judged(clips: Sequence[Clip], thresholds: QualityThresholds) -> tuple[list[Clip], list[Quarantined]]:
    """The clips of one file, in order of time, that are good enough; and a row for each span that is not: clips without
    a good one between them that are black, or frozen, share theirs, so that an hour's still frame is one row."""
    kept: list[Clip] = []
    refused: list[Quarantined] = []
    for reason, group in groupby(clips, lambda clip: _fault(clip, thresholds)):
        if reason is None:
            kept += group
        else:
            refused.append(_refused(list(group), reason, thresholds))
    return kept, refused


def _fault(clip: Clip, thresholds: QualityThresholds) -> QuarantineReason | None:
    if clip.black_fraction > thresholds.max_black_fraction:
        return QuarantineReason.BLACK
    return QuarantineReason.FROZEN if clip.frozen_fraction > thresholds.max_frozen_fraction else None


def _refused(clips: Sequence[Clip], reason: QuarantineReason, thresholds: QualityThresholds) -> Quarantined:
    fractions = [getattr(clip, f"{reason.value}_fraction") for clip in clips]
    found, limit = sum(fractions) / len(fractions), getattr(thresholds, f"max_{reason.value}_fraction")
    span = f"{clips[0].start_seconds:.2f} s to {clips[-1].start_seconds + clip_seconds(clips[-1]):.2f} s"
    return quarantined_clip(
        clips[0],
        reason,
        f"{found:.0%} of the frames from {span} are {reason.value}, at most {limit:.0%} is wanted. Cut the span out of "
        f"the footage, or raise max_{reason.value}_fraction.",
    )


def quarantined_clip(clip: Clip, reason: QuarantineReason, detail: str) -> Quarantined:
    """A clip's row among the items quarantined."""
    source = clip.media_id.removeprefix(f"{clip.dataset}/")
    return Quarantined(item=clip.clip_id, source=source, reason=reason, detail=detail, path=clip.path)


def quarantined_file(media: Media, reason: QuarantineReason, detail: str) -> Quarantined:
    """The same of a whole file."""
    return Quarantined(item=media.media_id, source=media.relpath, reason=reason, detail=detail, path=media.path)


RELATIVE = 0.05
"""Fraction by which sharpness and motion of two encodings of one thing may differ."""
ABSOLUTE = 5e-4
"""The same, for figures near zero."""
LOUDNESS_DB = 1.5


def mark_duplicates(clips: Sequence[Clip]) -> tuple[list[Clip], list[Quarantined]]:
    """Clips to keep, sorted by `clip_id`, and those that repeat an earlier one from a file of other bytes, or one that
    has a caption while they have none.

    A repeat has the same perceptual hash of its middle frame, the same shape, and nearly the same figures. Files of
    equal bytes are no duplicates here: the user put them there twice, and they share their latents.
    """
    kept: list[Clip] = []
    repeats: list[Quarantined] = []
    by_hash: dict[str, list[Clip]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: (not clip.caption, clip.clip_id)):  # a caption that is written wins
        first = next((other for other in by_hash[clip.perceptual_hash] if _repeats(clip, other)), None)
        if first is None:
            kept.append(clip)
            by_hash[clip.perceptual_hash].append(clip)
        else:
            detail = f"shows the same as {first.clip_id}, which is kept; each scene is wanted once. Remove one of them."
            repeats.append(quarantined_clip(clip, QuarantineReason.DUPLICATE, detail))
    return sorted(kept, key=lambda clip: clip.clip_id), repeats


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


MIN_SOURCES = 4
"""From this many files on, one is held out even if chance picked none."""


def assign_splits(clips: Sequence[Clip], fraction: float) -> list[Clip]:
    """The clips in their order, each with the side of its source file, which its bytes alone decide: `fraction` of all
    files, in the long run, is held out.

    All clips of a file, and files of equal bytes, are on one side. With a fraction over 0 and at least `MIN_SOURCES`
    different files, at least one is held out; below 1, at least one is trained on.
    """
    keys = sorted({clip.media_key for clip in clips}, key=lambda key: (_draw(key), key))
    held_out = {key for key in keys if _draw(key) < fraction}
    if fraction > 0 and not held_out and len(keys) >= MIN_SOURCES:
        held_out = {keys[0]}
    if keys and len(held_out) == len(keys) and fraction < 1:
        held_out.remove(keys[-1])
    return [clip.model_copy(update={"split": "eval" if clip.media_key in held_out else "train"}) for clip in clips]


MOST_ERROR = 0.05
"""By which a dataset's part of an epoch may differ from its weight, before longer epochs are tried."""
LONGEST_EPOCH = 8
"""So many times as long an epoch may become for that."""


def weighted_repeats(clips: Mapping[str, int], weights: Mapping[str, float]) -> dict[str, int]:
    """Repeats of the clips of each dataset, so that an epoch has samples of the datasets in proportion to `weights`, as
    far as whole numbers allow: the shortest epoch in which none is off by more than `MOST_ERROR`, or the most exact.

    Args:
        clips: Number of clips that are trained on, by dataset; those with none are left out.
        weights: By dataset, above 0.
    """
    wanted = {name: weights[name] / count for name, count in clips.items() if count}
    least = min(wanted.values(), default=1.0)
    best: tuple[float, dict[str, int]] = (math.inf, {})
    for times in range(1, LONGEST_EPOCH + 1):
        exact = {name: times * value / least for name, value in wanted.items()}
        error = max((abs(round(value) / value - 1) for value in exact.values()), default=0.0)
        if error < best[0]:
            best = error, {name: round(value) for name, value in exact.items()}
        if error <= MOST_ERROR:
            break
    return best[1]


def _draw(media_key: str) -> float:
    """A number in [0, 1) that only the key decides."""
    return int(text_digest("eval split", media_key)[:13], 16) / 16**13
