"""Files that belong to a video: its sound and its mask, each looked at once for its bytes."""

import operator
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from datasets_spec import QuarantineReason
from ltx_core.files.digest import text_digest
from ltx_core.media.errors import MediaError
from ltx_core.media.mask import check_mask
from ltx_core.media.probe import MediaInfo
from ltx_core.media.sound import has_sound
from ltx_core.pool.items import ItemStore
from tasks.file_reading import read_file
from tasks.footage import CHANGING, UNREADABLE, FileBeside, Source, not_read
from tasks.stage_run import StageRun


def files_beside(source: Source, info: MediaInfo, store: ItemStore, run: StageRun) -> dict[str, str]:
    """What the video's row says of them.

    Raises:
        MediaError: NO_SOUND or BAD_MASK, one is missing, ambiguous or not what it should be; or it cannot be read.
    """
    return _sound(source, store, run) | _mask(source, info, store, run)


def _sound(source: Source, store: ItemStore, run: StageRun) -> dict[str, str]:
    """What the row says of the sound file that the dataset has for this video; nothing if it has no such folder.

    Raises:
        MediaError: NO_SOUND, there is none though one is wanted, or several, or no sound in it; or it cannot be read.
    """
    audio = source.dataset.audio
    if audio.sound_dir is None or (not source.sounds and audio.missing_sound == "without"):
        return {}
    names = ", ".join(one.path.name for one in source.sounds)
    if len(source.sounds) != 1:
        raise MediaError(
            QuarantineReason.NO_SOUND,
            f"{source.relpath} has {names or 'no sound file of its name'} in {audio.sound_dir}; one is wanted, such as "
            f"{PurePosixPath(source.relpath).with_suffix('.wav')}. Put it there, or set audio.missing_sound: without.",
        )
    path, digest = source.sounds[0]
    file = _readable(source.sounds[0])
    key = text_digest("sound", digest, run.version)
    if store.get(key) is None:
        if not read_file(run, "probing sounds", file, has_sound, path, is_doubtful=operator.not_):
            raise MediaError(QuarantineReason.NO_SOUND, f"{path} holds no sound; put a sound file there")
        store.put(key, {"has_sound": True})
    return {"sound_key": digest, "sound_path": str(path)}


def _mask(source: Source, info: MediaInfo, store: ItemStore, run: StageRun) -> dict[str, str]:
    if not source.masks:
        return {}
    if len(source.masks) > 1:
        names = ", ".join(one.path.name for one in source.masks)
        raise MediaError(QuarantineReason.BAD_MASK, f"{source.relpath} has several masks, {names}; keep one of them")
    (mask,) = source.masks
    file = _readable(mask)
    size = (info.width, info.height)
    key = text_digest("mask", mask.digest, mask.path.suffix.lower(), repr(size), run.version)
    if store.get(key) is None:
        read_file(run, "probing masks", file, check_mask, mask.path, size)
        store.put(key, {"fits": True})
    return {"mask_key": mask.digest, "mask_path": str(mask.path)}


def _readable(file: FileBeside) -> Mapping[Path, str]:
    """The file and its digest, for who is going to read it."""
    if file.digest in (UNREADABLE, CHANGING):
        raise not_read(file.path, file.digest)
    return {file.path: file.digest}
