"""Find media, hash the bytes, read streams, frame times, sound layout and caption; a verdict for each file."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datasets_spec import Media, Quarantined
from ltx_core.files.digest import DigestMemo, changed, text_digest
from ltx_core.files.regular import one_line, shown_name
from ltx_core.media.captions import caption_file, read_caption
from ltx_core.media.errors import MediaError
from ltx_core.media.probe import MediaInfo, probe_media
from ltx_core.pool.items import ItemStore
from ltx_core.progress import stop_if_asked
from tasks.file_reading import FileJob, read_files
from tasks.footage import (
    CHANGING,
    UNREADABLE,
    Source,
    caption_digest,
    find_files,
    find_sources,
    folders_of,
    footage_digests,
    ignored_files,
    not_read,
    workspaces_in,
)
from tasks.probe_beside import files_beside
from tasks.shared import ConfigModel, Shared
from tasks.stage import Observed, Outcome, Stage
from tasks.stage_run import StageRun
from tasks.subjects import DECODING

PICTURES = frozenset({".avif", ".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


class ProbeConfig(ConfigModel):
    """Nothing to set: what is probed is said by `datasets`."""


def probe(run: StageRun) -> Outcome:
    """Probe each file once for its bytes: a renamed or copied file costs nothing."""
    memo = run.memo
    store = ItemStore(run.workspace.pool / "probe", run.progress)
    sources = [source for dataset in run.shared.datasets for source in find_sources(dataset, memo)]
    memo.save()
    looks, fresh = _look_at(sources, store, run)
    rows: list[Media] = []
    quarantined: list[Quarantined] = []
    computed = 0
    for source in sources:
        stop_if_asked(run.progress, "probing")
        try:
            info = _info(source, looks)
            beside = files_beside(source, info, store, run)
            rows.append(_row(source, info, _caption(source)).model_copy(update=beside))
            computed += source.media_digest in fresh
            fresh.discard(source.media_digest)
        except MediaError as error:
            quarantined.append(_verdict(source, error))
    run.progress.advance(len(sources), len(sources), "files")
    return Outcome(
        rows=rows,
        quarantined=quarantined,
        num_in=len(sources),
        num_out=len(rows),
        computed=computed,
        reused=len(rows) - computed,
        unit="files",
        figures={
            "seconds_of_footage": sum(row.duration_seconds for row in rows),
            "files_ignored": sum(sum(ignored_files(dataset).values()) for dataset in run.shared.datasets),
        },
    )


class Look(NamedTuple):
    """What a file was found to be, or why it cannot be used, and the path of the copy that was read."""

    found: MediaInfo | MediaError
    path: Path


def _look_at(sources: Sequence[Source], store: ItemStore, run: StageRun) -> tuple[dict[str, Look], set[str]]:
    """Each file once, by the digest of its bytes; those that the pool did not know too."""
    looks: dict[str, Look] = {}
    missing: dict[str, Source] = {}
    for source in sources:
        digest = source.media_digest
        if digest in (UNREADABLE, CHANGING) or digest in looks or digest in missing:
            continue
        known: dict[str, Any] | None = None if run.force else store.get(_key(digest, run))
        if known is None:
            missing[digest] = source
        else:
            looks[digest] = Look(MediaInfo(**known), source.path)
    jobs = [FileJob(digest, {source.path: digest}, probe_media, (source.path,)) for digest, source in missing.items()]
    for done, (digest, found) in enumerate(read_files(jobs, run, "probing")):
        looks[digest] = Look(found, missing[digest].path)
        if not isinstance(found, MediaError):
            store.put(_key(digest, run), dataclasses.asdict(found))
        run.progress.advance(len(sources) - len(jobs) + done + 1, len(sources), "files")
    return looks, set(missing)


def _key(media_digest: str, run: StageRun) -> str:
    return text_digest(media_digest, run.version)


def _info(source: Source, looks: Mapping[str, Look]) -> MediaInfo:
    if source.media_digest in (UNREADABLE, CHANGING):
        raise not_read(source.path, source.media_digest)
    found, path = looks[source.media_digest]
    if isinstance(found, MediaError):
        raise MediaError(found.reason, str(found).replace(str(path), str(source.path)))
    return found


def _caption(source: Source) -> str:
    """The caption, of the bytes that were found.

    Raises:
        MediaError: there is none, or it cannot be read.
        ChangedError: its file is edited at this moment.
    """
    dataset = source.dataset
    caption = read_caption(source.path, dataset.caption_strategy, dataset.instance_prompt)
    if caption_digest(dataset, source.path) != source.caption_digest:
        raise changed(caption_file(source.path))
    return caption


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
        path=shown_name(source.path),
    )


def check(_config: ProbeConfig, shared: Shared) -> None:
    """Every dataset's folders are there, with media in them.

    Raises:
        DataError: one is not.
    """
    for dataset in shared.datasets:
        find_files(dataset)


def observe(_config: ProbeConfig, shared: Shared, memo: DigestMemo) -> Observed:
    """The bytes of the footage and its captions, and how captions are found."""
    observed: dict[str, dict[str, Any]] = {}
    for dataset in shared.datasets:
        how = dataset.model_dump(mode="json", include={"caption_strategy", "instance_prompt"})
        observed[dataset.id] = {"captions": how, "footage": footage_digests(dataset, memo)}
        if dataset.audio.sound_dir is not None:
            observed[dataset.id]["missing_sound"] = dataset.audio.missing_sound
    memo.save()
    return {"datasets": observed}


def probe_notices(_config: ProbeConfig, shared: Shared) -> Sequence[str]:
    """Workspaces among the footage, of which nothing is taken; and files of which nothing is made, a line each kind."""
    within = [
        f"dataset {dataset.id}: {workspace} is a workspace; its renders and caches are not taken for footage"
        for dataset in shared.datasets
        for folder in dict.fromkeys(folders_of(dataset).values())
        for workspace in workspaces_in(folder)
    ]
    return within + [
        f"dataset {dataset.id}: {count} {_kind(suffix)} ignored: "
        f"{'pictures are not trained on' if suffix in PICTURES else 'not known as video'}"
        for dataset in shared.datasets
        for suffix, count in ignored_files(dataset).items()
    ]


def _kind(suffix: str) -> str:
    return f"{one_line(suffix)} files" if suffix else "files without a suffix"


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
    check=check,
    notices=probe_notices,
)
