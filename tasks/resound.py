"""Clips of a video whose sound comes from a file of its own: what is heard there, kept by that file's bytes."""

from collections.abc import Sequence
from pathlib import Path

from datasets_spec import Clip, Media
from datasets_spec.rows import AudioKind
from ltx_core.files.digest import text_digest
from ltx_core.media.clip import clip_seconds
from ltx_core.media.heard import Heard, heard, with_sound
from ltx_core.pool.items import ItemStore
from ltx_core.progress import stop_if_asked
from tasks.file_reading import read_file
from tasks.stage_run import StageRun


def resound(clips: Sequence[Clip], media: Media, run: StageRun) -> tuple[list[Clip], bool]:
    """The clips with the sound of the same seconds of `media`'s sound file, and whether any was heard anew.

    Raises:
        MediaError: the sound file changed or went away since it was probed.
    """
    store = ItemStore(run.workspace.pool / "heard", run.progress)
    channels = run.shared.dataset(media.dataset).audio.channels
    path, sound_key = str(media.sound_path), str(media.sound_key)
    made: list[Clip] = []
    is_new = False
    for clip in clips:
        stop_if_asked(run.progress, "listening")
        span = (f"{clip.start_seconds:.6f}", f"{clip_seconds(clip):.6f}", str(channels))
        key = text_digest(sound_key, *span, run.version)
        known = None if run.force else store.get(key)
        if known is None:
            span_of = (Path(path), clip.start_seconds, clip_seconds(clip), channels)
            file = {Path(path): sound_key}
            known = list(read_file(run, "listening", file, heard, *span_of, is_doubtful=_is_broken))
            store.put(key, known)
            is_new = True
        made.append(with_sound(clip, Heard(*known), path=path, key=sound_key, channels=channels))
    return made, is_new


def _is_broken(found: tuple[AudioKind, float]) -> bool:
    return found[0] == "broken"
