"""A file to clips: cut at scene changes, then in windows; judge each clip's video and audio."""

import hashlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datasets_spec.quarantine import Quarantined, QuarantineReason
from datasets_spec.rows import Clip, Media
from datasets_spec.spec import DatasetSpec
from ltx_core.media.buckets import Size, fit_size, is_too_small, least_wasteful, measured_size
from ltx_core.media.clip import clip_audio, clip_id, clip_seconds, heard, keyed
from ltx_core.media.errors import MediaError
from ltx_core.media.frames import decode_frames
from ltx_core.media.measure import SILENCE_DB, frame_luma, is_same, laplacian_variance, perceptual_hash
from ltx_core.media.quality import QualityThresholds, judged, quarantined_clip, quarantined_file
from ltx_core.media.windows import (
    ONE_FRAME,
    Lengths,
    Sampling,
    Window,
    clip_lengths,
    sampling,
    scene_windows,
    whole_frames,
)

THUMBNAIL = (8, 8)
"""Cells of luma, rows and columns, that frames are compared by: coarse, so that small movements do not count."""
HISTOGRAM_BINS = 16
LOOKAHEAD = 3
"""Frames for which a cut's old frame stood and its new one stays. A flash or a damaged frame is gone before."""
MIN_CHANGE = 0.06
"""Changes under this are never cuts."""
TIMES_NEIGHBOURS = 3.0
"""A cut changes at least this many times as much as the frames around it do, so that shaking is no cut."""
NEIGHBOURHOOD = 6
"""Frames on either side that count as around."""


class ChangeMeter:
    """Takes frames in order and keeps how much each differs from the ones 1, 2 and 3 before it."""

    def __init__(self) -> None:
        self._recent: deque[npt.NDArray[np.float32]] = deque(maxlen=LOOKAHEAD)
        self._changes: list[tuple[float, ...]] = []

    def add(self, frame: npt.NDArray[np.uint8]) -> None:
        """Add a frame [H, W] of luma, or [H, W, 3]."""
        self._compare(_signature(frame))

    def _compare(self, signature: npt.NDArray[np.float32]) -> None:
        changes = [_difference(signature, earlier) for earlier in reversed(self._recent)]
        self._changes.append((*changes, *([0.0] * (LOOKAHEAD - len(changes)))))
        self._recent.append(signature)

    def repeat(self) -> None:
        """Add the frame before once more."""
        self._compare(self._recent[-1])

    def cuts(self) -> list[int]:
        """Frames that begin a new scene, the first frame left out, in order.

        Frame n begins one if the last frame before it differs from n, n+1 and n+2, and n from n-2 and n-3 too, all by
        at least `MIN_CHANGE`, and by `TIMES_NEIGHBOURS` times the mean step between the frames around n.

        Not found: fades and dissolves, so a clip may hold one; cuts between frames of equal brightness everywhere.
        """
        changes = np.array(self._changes, dtype=np.float64).reshape(-1, LOOKAHEAD)
        found: list[int] = []
        for n in range(1, len(changes)):
            if changes[n, 0] < MIN_CHANGE:
                continue
            stays = min(changes[n + k, k] for k in range(LOOKAHEAD) if n + k < len(changes))
            stayed = float(changes[n, : min(n, LOOKAHEAD)].min())
            low, high = max(n - NEIGHBOURHOOD, 1), n + NEIGHBOURHOOD + 1
            around = np.delete(changes[low:high, 0], n - low)
            usual = float(np.sort(around)[: -1 if len(around) > 3 else None].mean()) if len(around) else 0.0
            if min(stays, stayed) >= max(MIN_CHANGE, TIMES_NEIGHBOURS * usual):
                found.append(n)
        return found


def _signature(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Mean luma of each cell and the square roots of the luma histogram's fractions, one vector."""
    luma = frame_luma(frame)
    rows, columns = (
        np.linspace(0, edge, cells + 1).astype(np.intp) for edge, cells in zip(luma.shape, THUMBNAIL, strict=True)
    )
    sums = np.add.reduceat(np.add.reduceat(luma, rows[:-1], axis=0), columns[:-1], axis=1)
    counts = np.outer(np.diff(rows), np.diff(columns))
    levels = np.minimum(luma * HISTOGRAM_BINS, HISTOGRAM_BINS - 1).astype(np.intp)
    fractions = np.bincount(levels.ravel(), minlength=HISTOGRAM_BINS) / luma.size
    return np.concatenate([(sums / counts).ravel(), np.sqrt(fractions)]).astype(np.float32)


def _difference(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """Mean of two distances in [0, 1]: of the cells' luma, and of the histograms (Hellinger)."""
    cells = THUMBNAIL[0] * THUMBNAIL[1]
    luma = float(np.abs(a[:cells] - b[:cells]).mean())
    histogram = float(np.sqrt(np.square(a[cells:] - b[cells:]).sum() / 2))
    return (luma + histogram) / 2


ANALYSIS_EDGE = 256
"""Longest edge of the frames that are judged. Sharpness is that of frames of this size."""
BLACK_LUMA = 0.03

Floats = npt.NDArray[np.float64]


class Figures(NamedTuple):
    """The columns of `datasets_spec.Clip` that are about a clip's frames, under the same names."""

    sharpness: float
    motion: float
    black_fraction: float
    frozen_fraction: float
    perceptual_hash: str


UNSEEN = Figures(0.0, 0.0, 0.0, 0.0, "0" * 16)
"""Of audio alone."""


@dataclass(frozen=True)
class Analysis:
    """One number a frame; the frames themselves are not kept. `change` and `same` compare with the frame before."""

    sharpness: Floats
    brightness: Floats
    change: Floats
    same: npt.NDArray[np.bool_]
    hashes: tuple[str, ...]
    cuts: tuple[int, ...]
    """Among them frames at which the displayed size changes."""
    sizes: tuple[Size, ...]
    """Displayed (width, height) of each frame."""

    def scenes(self) -> list[tuple[int, int]]:
        """Spans [start, end) between cuts, in frames."""
        borders = [0, *self.cuts, len(self.hashes)]
        return list(pairwise(borders))

    def figures(self, window: Window) -> Figures:
        """The figures of the frames in `window`."""
        frames = slice(window.start, window.start + window.num_frames)
        steps = slice(window.start + 1, window.start + window.num_frames)
        has_steps = window.num_frames > 1
        return Figures(
            sharpness=float(self.sharpness[frames].mean()),
            motion=float(self.change[steps].mean()) if has_steps else 0.0,
            black_fraction=float((self.brightness[frames] < BLACK_LUMA).mean()),
            frozen_fraction=float(self.same[steps].mean()) if has_steps else 0.0,
            perceptual_hash=self.hashes[window.start + window.num_frames // 2],
        )


def analyse(path: Path, num_frames: int, sampling: Sampling) -> Analysis:
    """Decode `num_frames` frames from the start, once, small and without colour.

    Raises:
        MediaError: the file cannot be decoded to that time.
    """
    times = [n / sampling.rate + sampling.phase_seconds for n in range(num_frames)]
    sizes: list[Size] = []

    def small(width: int, height: int) -> Size:
        sizes.append((width, height))
        return fit_size(width, height, ANALYSIS_EDGE)

    return _analyse(
        decode_frames(path, times, resize=small, luma=True, scan=sampling.scan, ground=sampling.ground), sizes
    )


def _analyse(frames: Iterable[npt.NDArray[np.uint8]], seen: Sequence[Size]) -> Analysis:
    """`seen`: the displayed size of each different frame so far, filled while the frames come."""
    meter = ChangeMeter()
    sharpness, brightness, change, same, hashes, sizes = [], [], [], [], [], []
    last = last_luma = None
    for frame in frames:
        sizes.append(seen[-1])
        if frame is last:  # still on screen: an hour's pause is no hour's work
            meter.repeat()
            for figures, figure in ((sharpness, sharpness[-1]), (brightness, brightness[-1]), (change, 0.0)):
                figures.append(figure)
            same.append(True)
            hashes.append(hashes[-1])
            continue
        luma = frame_luma(frame)
        meter.add(frame)
        sharpness.append(laplacian_variance(luma))
        brightness.append(float(luma.mean()))
        if last is None or last_luma is None or sizes[-1] != sizes[-2]:
            change.append(0.0)
            same.append(False)
        else:
            change.append(float(np.abs(luma - last_luma).mean()))
            same.append(is_same(last, frame))
        hashes.append(perceptual_hash(frame))
        last, last_luma = frame, luma
    resized = {n for n in range(1, len(sizes)) if sizes[n] != sizes[n - 1]}
    return Analysis(
        sharpness=np.array(sharpness),
        brightness=np.array(brightness),
        change=np.array(change),
        same=np.array(same, dtype=np.bool_),
        hashes=tuple(hashes),
        cuts=tuple(sorted(resized | set(meter.cuts()))),
        sizes=tuple(sizes),
    )


class Plan(NamedTuple):
    """Decisions about a file that follow from its figures alone."""

    taken: Sampling
    total: int
    """Frames at the rate at which they are taken."""
    lengths: Lengths
    bucket: Size


def plan_of(media: Media, spec: DatasetSpec) -> Plan | Quarantined:
    """Return what is decided about a file, or why it will not be cut."""
    if spec.dataset_type == "audio":
        return _plan_of_audio(media, spec)
    taken = sampling(media, spec.video)
    total = whole_frames(media.duration_seconds, taken.rate)
    lengths = ONE_FRAME if media.is_image else clip_lengths(spec.video)
    bucket = _bucket(spec, media.width, media.height)
    fault = _unwanted(media, spec) or _fault(media, spec, total, lengths, bucket)
    return fault or Plan(taken, total, lengths, bucket)


def _plan_of_audio(media: Media, spec: DatasetSpec) -> Plan | Quarantined:
    asked = spec.video.frame_rate
    taken = Sampling(media.usual_rate if asked == "native" else asked, 0.0, "progressive")
    total, lengths = whole_frames(media.duration_seconds, taken.rate), clip_lengths(spec.video)
    return _length_fault(media, spec, taken.rate, total, lengths) or Plan(taken, total, lengths, (0, 0))


def split_media(media: Media, spec: DatasetSpec, thresholds: QualityThresholds) -> tuple[list[Clip], list[Quarantined]]:
    """The clips of one file, in order of time, and what is quarantined: the file itself, or single clips.

    No clip crosses a scene cut. Which clips are held out is for `assign_splits`, which sees all files.

    Raises:
        MediaError: the file changed or went away while it was read.
    """
    plan = plan_of(media, spec)
    if isinstance(plan, Quarantined):
        return [], [plan]
    taken, total, lengths, _ = plan
    if spec.dataset_type == "audio":
        return [_audio_clip(media, spec, taken, window) for window in scene_windows(0, total, lengths)], []
    rate = taken.rate
    try:
        analysis = analyse(Path(media.path), total, taken)
    except MediaError as error:
        if error.reason.may_pass:
            raise
        return [], [quarantined_file(media, error.reason, str(error))]
    scenes = analysis.scenes()
    windows = [window for start, end in scenes for window in scene_windows(start, end, lengths)]
    if not windows:
        longest = max(end - start for start, end in scenes)
        found = f"{total} frames at {rate:g} frames per second in {len(scenes)} scenes, the longest of {longest}"
        return [], [_too_short(media, found, lengths)]
    sizes = (_bucket(spec, *analysis.sizes[window.start]) for window in windows)
    clips = [_clip(media, spec, taken, w, size, analysis.figures(w)) for w, size in zip(windows, sizes, strict=True)]
    kept, refused = judged(clips, thresholds)
    small = [clip for clip in kept if is_too_small(*analysis.sizes[round(clip.start_seconds * rate)], _size(clip))]
    refused += [quarantined_clip(clip, QuarantineReason.TOO_SMALL, _smaller(clip)) for clip in small]
    return [_listened(clip, media) for clip in kept if clip not in small], refused


def _size(clip: Clip) -> Size:
    return clip.width, clip.height


def _smaller(clip: Clip) -> str:
    return (
        f"the frames of {clip.clip_id} are under half of the {clip.width}x{clip.height} they would be trained at, "
        f"smaller than those before them. Lower resolution, or use larger footage."
    )


def _unwanted(media: Media, spec: DatasetSpec) -> Quarantined | None:
    """Footage that could be made plain and shall not be."""
    video = spec.video
    if video.hdr == "quarantine" and media.colors != "sdr":
        kinds = {"pq": "HDR (PQ)", "hlg": "HDR (HLG)", "wide": "colours beyond BT.709"}
        reason, found, option = QuarantineReason.HDR, kinds[media.colors], "video.hdr: map"
    elif video.interlaced == "quarantine" and media.scan != "progressive":
        reason, found, option = QuarantineReason.INTERLACED, media.scan.split("_")[0], "video.interlaced: deinterlace"
    elif video.alpha == "quarantine" and media.has_alpha:
        reason, found, option = QuarantineReason.TRANSPARENT, "partly transparent", "video.alpha: black"
    else:
        return None
    return quarantined_file(
        media, reason, f"{media.media_id} is {found}, which is not wanted. Convert it, or set {option}."
    )


def _fault(media: Media, spec: DatasetSpec, total: int, lengths: Lengths, bucket: Size) -> Quarantined | None:
    """Return what is wrong with the file as a whole, from its figures alone."""
    fault = _length_fault(media, spec, sampling(media, spec.video).rate, total, lengths)
    if fault is not None:
        return fault
    size, least = measured_size(media.width, media.height, spec.resolution_type), spec.minimum_image_size
    if size < least:
        unit = "megapixels" if spec.resolution_type == "area" else "pixels at its shorter edge"
        return quarantined_file(
            media,
            QuarantineReason.TOO_SMALL,
            f"{media.media_id} is {media.width}x{media.height}, {size:g} {unit}, and minimum_image_size is {least:g}. "
            f"Lower it, or use larger footage.",
        )
    if is_too_small(media.width, media.height, bucket):
        return quarantined_file(
            media,
            QuarantineReason.TOO_SMALL,
            f"{media.media_id} is {media.width}x{media.height}, which is under half of the {bucket[0]}x{bucket[1]} it "
            f"would be trained at. Lower resolution, or use larger footage.",
        )
    return None


def _length_fault(media: Media, spec: DatasetSpec, rate: float, total: int, lengths: Lengths) -> Quarantined | None:
    limit = spec.video.max_frames
    if limit is not None and total > limit:
        return quarantined_file(
            media,
            QuarantineReason.TOO_LONG,
            f"{media.media_id} has {total} frames at {rate:g} frames per second, at most {limit} are wanted. Cut it, "
            f"or raise max_frames.",
        )
    if total < lengths.needed:
        return _too_short(media, f"{total} frames at {rate:g} frames per second", lengths)
    return None


def _too_short(media: Media, found: str, lengths: Lengths) -> Quarantined:
    detail = (
        f"{media.media_id} has {found}; {lengths.needed} in one scene are wanted. Lower num_frames or min_frames, or "
        f"use longer footage."
    )
    return quarantined_file(media, QuarantineReason.TOO_SHORT, detail)


def _bucket(spec: DatasetSpec, width: int, height: int) -> Size:
    """The size that frames of a displayed size are trained at."""
    return least_wasteful(width, height, spec.resolutions, spec.resolution_type, spec.downscale_factor)


def _clip(media: Media, spec: DatasetSpec, taken: Sampling, window: Window, size: Size, figures: Figures) -> Clip:
    """The clip, nothing heard of it yet."""
    start, (width, height) = window.start / taken.rate, size
    made = Clip(
        clip_id=clip_id(media.media_id, start),
        clip_key="",
        media_id=media.media_id,
        media_key=media.media_key,
        dataset=media.dataset,
        path=media.path,
        caption=media.caption,
        start_seconds=start,
        frame_rate=taken.rate,
        phase_seconds=taken.phase_seconds,
        scan=taken.scan,
        ground=taken.ground,
        num_frames=window.num_frames,
        width=width,
        height=height,
        bucket=f"{width}x{height}@{window.num_frames}",
        audio="none",
        audio_channels=spec.audio.channels if spec.audio.auto_split and not media.is_image else 0,
        split="train",
        repeats=spec.repeats,
        loudness_db=SILENCE_DB,
        **figures._asdict(),
    )
    return made.model_copy(update={"clip_key": keyed(made, spec.crop)})


def _audio_clip(media: Media, spec: DatasetSpec, taken: Sampling, window: Window) -> Clip:
    """A clip of audio alone: of as many frames as a video of its length would have, and no place in them."""
    made = _listened(_clip(media, spec, taken, window, (0, 0), UNSEEN), media)
    samples = clip_audio(made) if made.has_sound else None
    if samples is None:
        return made
    content = (samples * 2**15).round().astype("<i2").tobytes()  # equal of copies without loss
    return made.model_copy(update={"perceptual_hash": hashlib.sha256(content).hexdigest()[:16]})


def audible(clips: Sequence[Clip], spec: DatasetSpec) -> tuple[list[Clip], list[Quarantined]]:
    """Clips of audio that teach something, and why others do not."""
    kept, refused = [], []
    for clip in clips:
        if clip.teaches_audio(spec.audio.silence):
            kept.append(clip)
            continue
        reason = QuarantineReason.DECODE_ERROR if clip.audio == "broken" else QuarantineReason.NO_AUDIO
        what = {"broken": "cannot be decoded", "silent": "is silent"}.get(clip.audio, "has no audio")
        detail = f"{clip.clip_id} {what}, and audio is all that is trained of it. Cut the span out of the file"
        more = ", or set audio.silence: train." if clip.audio == "silent" else "."
        refused.append(quarantined_clip(clip, reason, detail + more))
    return kept, refused


def _listened(clip: Clip, media: Media) -> Clip:
    """The clip with what is heard of the file's own audio, if that is wanted and there is any."""
    if clip.audio_channels == 0 or media.audio_codec is None:
        return clip
    found = heard(Path(media.path), clip.start_seconds, clip_seconds(clip), clip.audio_channels)
    return clip.model_copy(update=found.of_clip())
