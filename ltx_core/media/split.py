"""A file to clips: cut at scene changes, then in windows; judge each clip's pictures and sound."""

from pathlib import Path

from datasets_spec.quarantine import Quarantined, QuarantineReason
from datasets_spec.rows import Clip, Media
from datasets_spec.spec import DatasetSpec
from ltx_core.media.analysis import Analysis, analyse
from ltx_core.media.buckets import Size, bucket_size, is_too_small, measured_size
from ltx_core.media.clip import clip_id, clip_seconds, keyed
from ltx_core.media.errors import MediaError
from ltx_core.media.heard import heard
from ltx_core.media.holdout import eval_split
from ltx_core.media.measure import SILENCE_DB
from ltx_core.media.quality import QualityThresholds, judged, quarantined_clip
from ltx_core.media.rates import sampling
from ltx_core.media.windows import Lengths, Window, clip_lengths, scene_windows, whole_frames


def split_media(media: Media, spec: DatasetSpec, thresholds: QualityThresholds) -> tuple[list[Clip], list[Quarantined]]:
    """The clips of one file, in order of time, and what is set aside: the file itself, or single clips.

    No clip crosses a scene cut. The side (`train` or `eval`) is by hash alone; `assign_splits` sees all files.

    Raises:
        MediaError: the file changed or went away while it was read.
    """
    video, taken = spec.video, sampling(media, spec.video.frame_rate)
    rate, total = taken.rate, whole_frames(media.duration_seconds, taken.rate)
    lengths = clip_lengths(video.num_frames, video.min_frames, video.bucket_strategy, video.frame_interval)
    bucket = bucket_size(media.width, media.height, spec.resolution, spec.resolution_type)
    fault = _unwanted(media, spec) or _fault(media, spec, total, lengths, bucket)
    if fault is not None:
        return [], [fault]
    try:
        analysis = analyse(Path(media.path), total, taken)
    except MediaError as error:
        if error.reason.may_pass:
            raise
        return [], [_set_aside(media, error.reason, str(error))]
    scenes = analysis.scenes()
    windows = [window for start, end in scenes for window in scene_windows(start, end, lengths)]
    if not windows:
        longest = max(end - start for start, end in scenes)
        found = f"{total} frames at {rate:g} frames per second in {len(scenes)} scenes, the longest of {longest}"
        return [], [_too_short(media, found, lengths)]
    clips = [_clip(media, spec, analysis, window) for window in windows]
    kept, refused = judged(clips, thresholds)
    small = [clip for clip in kept if is_too_small(*analysis.sizes[round(clip.start_seconds * rate)], _size(clip))]
    refused += [quarantined_clip(clip, QuarantineReason.TOO_SMALL, _smaller(clip)) for clip in small]
    return [_listened(clip, media) for clip in kept if clip not in small], refused


def _size(clip: Clip) -> Size:
    return clip.width, clip.height


def _smaller(clip: Clip) -> str:
    return (
        f"the pictures of {clip.clip_id} are under half of the {clip.width}x{clip.height} they would be trained at, "
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
    return _set_aside(media, reason, f"{media.media_id} is {found}, which is not wanted. Convert it, or set {option}.")


def _fault(media: Media, spec: DatasetSpec, total: int, lengths: Lengths, bucket: Size) -> Quarantined | None:
    """What is wrong with the file as a whole, from its figures alone."""
    rate, limit = sampling(media, spec.video.frame_rate).rate, spec.video.max_frames
    if limit is not None and total > limit:
        return _set_aside(
            media,
            QuarantineReason.TOO_LONG,
            f"{media.media_id} has {total} frames at {rate:g} frames per second, at most {limit} are wanted. Cut it, "
            f"or raise max_frames.",
        )
    if total < lengths.needed:
        return _too_short(media, f"{total} frames at {rate:g} frames per second", lengths)
    size, least = measured_size(media.width, media.height, spec.resolution_type), spec.minimum_image_size
    if size < least:
        unit = "megapixels" if spec.resolution_type == "area" else "pixels at its shorter edge"
        return _set_aside(
            media,
            QuarantineReason.TOO_SMALL,
            f"{media.media_id} is {media.width}x{media.height}, {size:g} {unit}, and minimum_image_size is {least:g}. "
            f"Lower it, or use larger footage.",
        )
    if is_too_small(media.width, media.height, bucket):
        return _set_aside(
            media,
            QuarantineReason.TOO_SMALL,
            f"{media.media_id} is {media.width}x{media.height}, which is under half of the {bucket[0]}x{bucket[1]} it "
            f"would be trained at. Lower resolution, or use larger footage.",
        )
    return None


def _too_short(media: Media, found: str, lengths: Lengths) -> Quarantined:
    detail = (
        f"{media.media_id} has {found}; {lengths.needed} in one scene are wanted. Lower num_frames or min_frames, or "
        f"use longer footage."
    )
    return _set_aside(media, QuarantineReason.TOO_SHORT, detail)


def _set_aside(media: Media, reason: QuarantineReason, detail: str) -> Quarantined:
    return Quarantined(item=media.media_id, source=media.relpath, reason=reason, detail=detail, path=media.path)


def _clip(media: Media, spec: DatasetSpec, analysis: Analysis, window: Window) -> Clip:
    """The clip, its size that of the pictures in it, and nothing heard of it yet."""
    taken = sampling(media, spec.video.frame_rate)
    rate = taken.rate
    bucket = bucket_size(*analysis.sizes[window.start], spec.resolution, spec.resolution_type)
    start = window.start / rate
    channels = spec.audio.channels if spec.audio.auto_split else 0
    figures = analysis.figures(window)
    width, height = bucket
    made = Clip(
        clip_id=clip_id(media.media_id, start),
        clip_key="",
        media_id=media.media_id,
        media_key=media.media_key,
        dataset=media.dataset,
        path=media.path,
        caption=media.caption,
        start_seconds=start,
        frame_rate=rate,
        phase_seconds=taken.phase_seconds,
        scan=media.scan,
        num_frames=window.num_frames,
        width=width,
        height=height,
        bucket=f"{width}x{height}@{window.num_frames}",
        audio="none",
        audio_channels=channels,
        split=eval_split(media.media_key, spec.eval_fraction),
        repeats=spec.repeats,
        sharpness=figures.sharpness,
        motion=figures.motion,
        black_fraction=figures.black_fraction,
        frozen_fraction=figures.frozen_fraction,
        loudness_db=SILENCE_DB,
        perceptual_hash=figures.perceptual_hash,
    )
    return made.model_copy(update={"clip_key": keyed(made, spec.crop)})


def _listened(clip: Clip, media: Media) -> Clip:
    """The clip with what is heard of the file's own sound, if that is wanted and there is any."""
    if clip.audio_channels == 0 or media.audio_codec is None:
        return clip
    found = heard(Path(media.path), clip.start_seconds, clip_seconds(clip), clip.audio_channels)
    return clip.model_copy(update=found.of_clip())
