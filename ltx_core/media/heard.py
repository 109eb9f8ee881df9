"""What is heard in a span of a file, and clips whose sound comes from a file of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datasets_spec.quarantine import QuarantineReason
from datasets_spec.rows import AudioKind, Clip
from ltx_core.media.audio_kind import audio_kind
from ltx_core.media.clip import keyed
from ltx_core.media.errors import MediaError
from ltx_core.media.measure import SILENCE_DB, loudness_db
from ltx_core.media.sound import Span, sound_and_gaps, to_channels
from ltx_core.shapes import AUDIO_RATE, AUDIO_STRIDE, MEL_HOP, audio_latent_frames

MISSING_SECONDS = 0.04
"""An audio latent frame. Shorter gaps are a codec's delay at either end, or a stamp's rounding."""


class Heard(NamedTuple):
    """What is heard in a span."""

    kind: AudioKind
    loudness: float
    """dBFS."""
    absent: tuple[int, ...] = ()
    """Audio latent frames at which the file has no sound; none where it has none at all."""

    def of_clip(self) -> dict[str, Any]:
        """As a clip's row has it."""
        return {"audio": self.kind, "loudness_db": self.loudness, "absent_sound": list(self.absent)}


def heard(path: Path, start_seconds: float, seconds: float, channels: int) -> Heard:
    """What kind of sound a span has, its level, and where there is none.

    Raises:
        MediaError: the file went away or changed since it was probed.
    """
    try:
        found = sound_and_gaps(path, start_seconds, seconds)
    except MediaError as error:
        if error.reason is not QuarantineReason.DECODE_ERROR:
            raise
        return Heard("broken", SILENCE_DB)  # the pictures are still good; the clip's row says what its sound is
    if found is None:
        return Heard("none", SILENCE_DB)
    sound, gaps = to_channels(found[0], channels), found[1]
    absent = absent_latent_frames(gaps, seconds)
    if len(absent) == audio_latent_frames(seconds):
        return Heard("none", SILENCE_DB)  # all of the span lies before, after or between what there is
    return Heard(audio_kind(sound), loudness_db(sound), absent)


def absent_latent_frames(gaps: Sequence[Span], seconds: float) -> tuple[int, ...]:
    """Audio latent frames of a sound of `seconds` that overlap a gap of at least `MISSING_SECONDS`.

    The first stands for a hundredth of a second and each later one for the four that follow, as positions count them.
    """
    step = AUDIO_STRIDE * MEL_HOP / AUDIO_RATE
    late = step - MEL_HOP / AUDIO_RATE
    long = [gap for gap in gaps if gap.end - gap.start >= MISSING_SECONDS]
    spans = [(max(n * step - late, 0.0), (n + 1) * step - late) for n in range(audio_latent_frames(seconds))]
    return tuple(n for n, (start, end) in enumerate(spans) if any(g.start < end and start < g.end for g in long))


def with_sound(clip: Clip, sound: Heard, *, path: str, key: str, channels: int) -> Clip:
    """The clip with the sound of the same seconds of another file, `key` of whose bytes; as `heard` there."""
    changes = {"sound_path": path, "sound_key": key, "audio_channels": channels}
    made = clip.model_copy(update=changes | sound.of_clip())
    return made.model_copy(update={"clip_key": keyed(made)})
