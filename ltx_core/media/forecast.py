"""The clips that files will give, from their sizes and lengths alone: before anything is decoded."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from datasets_spec.rows import Media
from datasets_spec.spec import DatasetSpec
from ltx_core.media.split import Plan, plan_of
from ltx_core.media.windows import scene_windows

SHORTER = (49, 17)
"""Numbers of frames that are proposed beside the one that is asked for: two seconds, and the fewest that still move."""
WORTH = 0.05
"""More of the footage that a proposal must use to be made."""
MOST_SHOWN = 6
"""Buckets in a line."""


class Forecast(NamedTuple):
    """Clips by bucket, if no scene is cut, and seconds of video in them and in all files."""

    clips: Counter[str]
    used: float
    total: float

    @property
    def fraction(self) -> float:
        """Part of the video that is used; 1 of images alone."""
        return min(self.used / self.total, 1.0) if self.total else 1.0


def forecast(files: Sequence[Media], spec: DatasetSpec) -> Forecast:
    """Return what files will give with the options of their dataset."""
    clips: Counter[str] = Counter()
    used = total = 0.0
    for media in files:
        total += 0.0 if media.is_image else media.duration_seconds
        found = plan_of(media, spec)
        if not isinstance(found, Plan):
            continue
        for window in scene_windows(0, found.total, found.lengths):
            clips[f"{found.bucket[0]}x{found.bucket[1]}@{window.num_frames}"] += 1
            used += 0.0 if media.is_image else window.num_frames / found.taken.rate
    return Forecast(clips, used, total)


def forecast_lines(files: Sequence[Media], spec: DatasetSpec) -> Iterator[str]:
    """For people: buckets of a dataset, and shorter clips beside them where these would use more of its footage."""
    found = forecast(files, spec)
    shown = ", ".join(f"{count} of {bucket}" for bucket, count in found.clips.most_common(MOST_SHOWN))
    more = f", and {len(found.clips) - MOST_SHOWN} more buckets" if len(found.clips) > MOST_SHOWN else ""
    seconds = f"; they use {found.fraction:.0%} of {found.total:.0f} s" if found.total else ""
    yield f"dataset {spec.id}: if no scene is cut, {len(files)} files give {shown or 'no clip'}{more}{seconds}"
    counts = spec.video.frame_counts
    if spec.video.bucket_strategy != "aspect_ratio":
        return
    proposed = (*counts, *(count for count in SHORTER if count < counts[-1]))
    video = spec.video.model_copy(update={"num_frames": proposed, "min_frames": None})
    other = forecast(files, spec.model_copy(update={"video": video}))
    if other.fraction > found.fraction + WORTH:
        yield f"dataset {spec.id}: video.num_frames: {list(proposed)} would use {other.fraction:.0%} of it"
