"""Find media, hash the bytes, read streams, frame times, sound layout and caption; a verdict for each file."""

import dataclasses
from pathlib import PurePosixPath
from typing import Any

from datasets_spec import Media, Quarantined, QuarantineReason
from ltx_core.files.digest import DigestMemo, text_digest
from ltx_core.media.captions import read_caption
from ltx_core.media.errors import MediaError
from ltx_core.media.probe import MediaInfo, probe_media
from ltx_core.media.sound import has_sound
from ltx_core.pool.items import ItemStore
from ltx_core.progress import stop_if_asked
from tasks.footage import UNREADABLE, Source, find_sources, footage_digest
from tasks.shared import ConfigModel, Shared
from tasks.stage import Observed, Outcome, Stage, Work

PROBE_VERSION = 1


class ProbeConfig(ConfigModel):
    """Nothing to set: what is probed is said by `datasets`."""


def probe(work: Work) -> Outcome:
    """Probe each file once for its bytes: a renamed or copied file costs nothing."""
    memo = work.workspace.digest_memo()
    store = ItemStore(work.workspace.pool / "probe")
    sources = [source for dataset in work.shared.datasets for source in find_sources(dataset, memo)]
    memo.save()
    rows: list[Media] = []
    quarantined: list[Quarantined] = []
    computed = 0
    for done, source in enumerate(sources):
        stop_if_asked(work.progress, "probing")
        try:
            info, fresh = _info(source, store, work.force)
            caption = read_caption(source.path, source.dataset.caption_strategy, source.dataset.instance_prompt)
            rows.append(_row(source, info, caption).model_copy(update=_sound(source, store)))
            computed += fresh
        except MediaError as error:
            quarantined.append(_verdict(source, error))
        work.progress.advance(done + 1, len(sources), "files")
    return Outcome(
        rows=rows,
        quarantined=quarantined,
        num_in=len(sources),
        num_out=len(rows),
        computed=computed,
        reused=len(rows) - computed,
        unit="files",
        figures={"seconds_of_footage": sum(row.duration_seconds for row in rows)},
    )


def _info(source: Source, store: ItemStore, force: bool) -> tuple[MediaInfo, bool]:
    if source.media_digest == UNREADABLE:
        raise MediaError(
            QuarantineReason.UNREADABLE, f"{source.path} cannot be read; check that it exists and its permissions"
        )
    key = text_digest(source.media_digest, str(PROBE_VERSION))
    known: dict[str, Any] | None = None if force else store.get(key)
    if known is not None:
        return MediaInfo(**known), False
    info = probe_media(source.path)
    store.put(key, dataclasses.asdict(info))
    return info, True


def _sound(source: Source, store: ItemStore) -> dict[str, str]:
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
    ((path, digest),) = source.sounds
    if digest == UNREADABLE:
        raise MediaError(QuarantineReason.UNREADABLE, f"{path} cannot be read; check its permissions")
    key = text_digest("sound", digest, str(PROBE_VERSION))
    if store.get(key) is None:
        if not has_sound(path):
            raise MediaError(QuarantineReason.NO_SOUND, f"{path} holds no sound; put a sound file there")
        store.put(key, {"has_sound": True})
    return {"sound_key": digest, "sound_path": str(path)}


def _row(source: Source, info: MediaInfo, caption: str) -> Media:
    return Media(
        media_id=f"{source.dataset.id}/{source.relpath}",
        media_key=source.media_digest,
        dataset=source.dataset.id,
        relpath=source.relpath,
        path=str(source.path),
        caption=caption,
        **dataclasses.asdict(info),
    )


def _verdict(source: Source, error: MediaError) -> Quarantined:
    return Quarantined(
        item=f"{source.dataset.id}/{source.relpath}",
        source=source.relpath,
        reason=error.reason,
        detail=str(error),
        path=str(source.path),
    )


def observe(_config: ProbeConfig, shared: Shared, memo: DigestMemo) -> Observed:
    """The bytes of the footage and its captions, and how captions are found."""
    observed: dict[str, dict[str, Any]] = {}
    for dataset in shared.datasets:
        how = dataset.model_dump(mode="json", include={"caption_strategy", "instance_prompt"})
        observed[dataset.id] = {"captions": how, "footage": footage_digest(dataset, memo)}
        if dataset.audio.sound_dir is not None:
            observed[dataset.id]["missing_sound"] = dataset.audio.missing_sound
    memo.save()
    return {"datasets": observed}


STAGE = Stage(
    name="probe",
    summary=__doc__,
    config=ProbeConfig,
    needs=(),
    makes=Media,
    run=probe,
    observe=observe,
)
