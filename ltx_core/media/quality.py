"""Which clips are hopeless."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from datasets_spec.quarantine import Quarantined, QuarantineReason
from datasets_spec.rows import Clip
from ltx_core.media.clip import clip_seconds


@dataclass(frozen=True)
class QualityThresholds:
    """Above these a clip is set aside. The defaults remove only what no one would train on."""

    max_black_fraction: float = 0.9
    max_frozen_fraction: float = 0.98


def judged(clips: Sequence[Clip], thresholds: QualityThresholds) -> tuple[list[Clip], list[Quarantined]]:
    """The clips of one file, in order of time, that are good enough; and a row for each span that is not: clips without
    a good one between them that are black, or frozen, share theirs, so that an hour's still picture is one row."""
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
    shares = [getattr(clip, f"{reason.value}_fraction") for clip in clips]
    found, limit = sum(shares) / len(shares), getattr(thresholds, f"max_{reason.value}_fraction")
    span = f"{clips[0].start_seconds:.2f} s to {clips[-1].start_seconds + clip_seconds(clips[-1]):.2f} s"
    return quarantined_clip(
        clips[0],
        reason,
        f"{found:.0%} of the frames from {span} are {reason.value}, at most {limit:.0%} is wanted. Cut the span out of "
        f"the footage, or raise max_{reason.value}_fraction.",
    )


def quarantined_clip(clip: Clip, reason: QuarantineReason, detail: str) -> Quarantined:
    """A clip's row among the items set aside."""
    source = clip.media_id.removeprefix(f"{clip.dataset}/")
    return Quarantined(item=clip.clip_id, source=source, reason=reason, detail=detail, path=clip.path)
