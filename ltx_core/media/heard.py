"""What is heard in a span of a file, and clips whose sound comes from a file of its own."""

from pathlib import Path

from datasets_spec.quarantine import QuarantineReason
from datasets_spec.rows import AudioKind, Clip
from ltx_core.media.audio_kind import audio_kind
from ltx_core.media.clip import keyed
from ltx_core.media.errors import MediaError
from ltx_core.media.measure import SILENCE_DB, loudness_db
from ltx_core.media.sound import decode_sound, to_channels


def heard(path: Path, start_seconds: float, seconds: float, channels: int) -> tuple[AudioKind, float]:
    """What kind of sound a span has, and its level in dBFS.

    Raises:
        MediaError: the file went away or changed since it was probed.
    """
    try:
        sound = decode_sound(path, start_seconds, seconds)
    except MediaError as error:
        if error.reason is not QuarantineReason.DECODE_ERROR:
            raise
        return "broken", SILENCE_DB  # the pictures are still good; the clip's row says what its sound is
    if sound is None:
        return "none", SILENCE_DB
    sound = to_channels(sound, channels)
    return audio_kind(sound), loudness_db(sound)


def with_sound(clip: Clip, *, path: str, key: str, channels: int, kind: AudioKind, loudness: float) -> Clip:
    """The clip with the sound of the same seconds of another file, `key` of whose bytes; as `heard` there."""
    changes = {"sound_path": path, "sound_key": key, "audio_channels": channels, "audio": kind, "loudness_db": loudness}
    made = clip.model_copy(update=changes)
    return made.model_copy(update={"clip_key": keyed(made)})
