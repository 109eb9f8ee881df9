"""A file of audio to clips, of as many frames as a video of their length would have, and no place in them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from datasets_spec.quarantine import Quarantined, QuarantineReason
from datasets_spec.rows import Clip, Media
from datasets_spec.spec import DatasetSpec
from ltx_core.media.clip import clip_audio, clip_id, clip_seconds, heard, keyed
from ltx_core.media.measure import SILENCE_DB
from ltx_core.media.quality import eval_split, quarantined_clip
from ltx_core.media.windows import Lengths, Sampling, Window, scene_windows


def split_audio(media: Media, spec: DatasetSpec, taken: Sampling, total: int, lengths: Lengths) -> list[Clip]:
    """The clips of one file, in order of time, whatever is heard in them.

    Raises:
        MediaError: the file changed or went away while it was read.
    """
    return [_clip(media, spec, taken.rate, window) for window in scene_windows(0, total, lengths)]


def _clip(media: Media, spec: DatasetSpec, rate: float, window: Window) -> Clip:
    start, frames = window.start / rate, window.num_frames
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
        num_frames=frames,
        width=0,
        height=0,
        bucket=f"0x0@{frames}",
        audio="none",
        audio_channels=spec.audio.channels,
        split=eval_split(media.media_key, spec.eval_fraction),
        repeats=spec.repeats,
        sharpness=0.0,
        motion=0.0,
        black_fraction=0.0,
        frozen_fraction=0.0,
        loudness_db=SILENCE_DB,
        perceptual_hash="0" * 16,
    )
    found = heard(Path(media.path), start, clip_seconds(made), made.audio_channels)
    made = made.model_copy(update=found.of_clip() | {"clip_key": keyed(made, spec.crop)})
    samples = clip_audio(made) if made.has_sound else None
    if samples is None:
        return made
    content = (samples * 2**15).round().astype("<i2").tobytes()  # equal of copies without loss
    return made.model_copy(update={"perceptual_hash": hashlib.sha256(content).hexdigest()[:16]})


def audible(clips: Sequence[Clip], spec: DatasetSpec) -> tuple[list[Clip], list[Quarantined]]:
    """Clips of audio that teach something, and why others do not."""
    kept, refused = [], []
    for clip in clips:
        if clip.audio in ("voiced", "other") or (clip.audio == "silent" and spec.audio.silence == "train"):
            kept.append(clip)
            continue
        reason = QuarantineReason.DECODE_ERROR if clip.audio == "broken" else QuarantineReason.NO_SOUND
        what = {"broken": "cannot be decoded", "silent": "is silent"}.get(clip.audio, "has no audio")
        detail = f"{clip.clip_id} {what}, and audio is all that is trained of it. Cut the span out of the file"
        more = ", or set audio.silence: train." if clip.audio == "silent" else "."
        refused.append(quarantined_clip(clip, reason, detail + more))
    return kept, refused
