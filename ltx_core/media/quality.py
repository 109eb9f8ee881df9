"""Which clips are hopeless."""

from dataclasses import dataclass

from datasets_spec.quarantine import Quarantined, QuarantineReason
from datasets_spec.rows import Clip


@dataclass(frozen=True)
class QualityThresholds:
    """Above these a clip is set aside. The defaults remove only what no one would train on."""

    max_black_fraction: float = 0.9
    max_frozen_fraction: float = 0.98


def quality_fault(clip: Clip, thresholds: QualityThresholds) -> Quarantined | None:
    """Why the clip is set aside, or None if it is good enough."""
    if clip.black_fraction > thresholds.max_black_fraction:
        reason, found, limit = QuarantineReason.BLACK, clip.black_fraction, thresholds.max_black_fraction
    elif clip.frozen_fraction > thresholds.max_frozen_fraction:
        reason, found, limit = QuarantineReason.FROZEN, clip.frozen_fraction, thresholds.max_frozen_fraction
    else:
        return None
    span = f"{clip.start_seconds:.2f} s to {clip.start_seconds + clip.num_frames / clip.frame_rate:.2f} s"
    return quarantined_clip(
        clip,
        reason,
        f"{found:.0%} of the frames from {span} are {reason.value}, at most {limit:.0%} is wanted. Cut the span out of "
        f"the footage, or raise max_{reason.value}_fraction.",
    )


def quarantined_clip(clip: Clip, reason: QuarantineReason, detail: str) -> Quarantined:
    """A clip's row among the items set aside."""
    source = clip.media_id.removeprefix(f"{clip.dataset}/")
    return Quarantined(item=clip.clip_id, source=source, reason=reason, detail=detail, path=clip.path)
