"""Find media, hash the bytes, read streams, frame times, sound layout and caption; a verdict for each file."""

import dataclasses
from typing import Any

from datasets_spec import Media, Quarantined, QuarantineReason
from ltx_core.files.digest import DigestMemo, text_digest
from ltx_core.media.captions import read_caption
from ltx_core.media.errors import MediaError
from ltx_core.media.probe import MediaInfo, probe_media
from ltx_core.pool.items import ItemStore
from ltx_core.progress import stop_if_asked
from tasks.footage import UNREADABLE, Source, find_sources, footage_digest
from tasks.probe_beside import files_beside
from tasks.shared import ConfigModel, Shared
from tasks.stage import Observed, Outcome, Stage, Work
from tasks.subjects import DECODING


class ProbeConfig(ConfigModel):
    """Nothing to set: what is probed is said by `datasets`."""


def probe(work: Work) -> Outcome:
    """Probe each file once for its bytes: a renamed or copied file costs nothing."""
    memo = work.workspace.digest_memo()
    store = ItemStore(work.workspace.pool / "probe", work.progress)
    sources = [source for dataset in work.shared.datasets for source in find_sources(dataset, memo)]
    memo.save()
    rows: list[Media] = []
    quarantined: list[Quarantined] = []
    computed = 0
    for done, source in enumerate(sources):
        stop_if_asked(work.progress, "probing")
        try:
            info, fresh = _info(source, store, work)
            caption = read_caption(source.path, source.dataset.caption_strategy, source.dataset.instance_prompt)
            rows.append(_row(source, info, caption).model_copy(update=files_beside(source, info, store, work.version)))
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


def _info(source: Source, store: ItemStore, work: Work) -> tuple[MediaInfo, bool]:
    if source.media_digest == UNREADABLE:
        raise MediaError(
            QuarantineReason.UNREADABLE, f"{source.path} cannot be read; check that it exists and its permissions"
        )
    key = text_digest(source.media_digest, work.version)
    known: dict[str, Any] | None = None if work.force else store.get(key)
    if known is not None:
        return MediaInfo(**known), False
    info = probe_media(source.path)
    store.put(key, dataclasses.asdict(info))
    return info, True


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
    version=2,
    subjects=(DECODING,),
    config=ProbeConfig,
    needs=(),
    makes=Media,
    run=probe,
    observe=observe,
)
