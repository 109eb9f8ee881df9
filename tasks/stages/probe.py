"""Find the media files, hash them, read streams, frame times, audio layout and captions, and judge each file."""

import dataclasses
import operator
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from datasets_spec import Clip, DatasetSpec, Media, Quarantined, QuarantineReason
from datasets_spec.options import ConfigModel
from datasets_spec.rows import is_still
from ltx_core.io.digest import changed, text_digest
from ltx_core.io.regular import one_line, shown_name
from ltx_core.media.audio import has_audio
from ltx_core.media.captions import caption_file, check_trigger, read_captions
from ltx_core.media.clip import check_shape, keyed
from ltx_core.media.errors import MediaError
from ltx_core.media.find import OTHER_IMAGES, is_image
from ltx_core.media.probe import MediaInfo, probe_audio, probe_media
from ltx_core.progress import stop_if_asked
from ltx_core.store.json_items import ItemStore
from tasks.runtime.stage import DECODING, Observed, Outcome, Stage, StageRun
from tasks.stages.parts.file_reading import FileJob, get_or_read, read_file
from tasks.stages.parts.footage_files import (
    CHANGING,
    UNREADABLE,
    FileBeside,
    Source,
    caption_digest,
    find_files,
    find_sources,
    folders_beside,
    folders_of,
    footage_digests,
    ignored_files,
    media_files,
    not_read,
    workspaces_in,
)

SOURCE = "(source)"
PLACEHOLDER = {"media_id": SOURCE, "relpath": SOURCE, "path": SOURCE, "caption": SOURCE, "dataset": SOURCE}
"""Stands for what is not in a file's bytes, so that renaming it or editing its caption decodes nothing."""


class ProbeConfig(ConfigModel):
    """Nothing to set: what is probed is said by `datasets`."""


class Probe(Stage[ProbeConfig, Media]):
    """Probes each file once for its bytes: a renamed or copied file costs nothing."""

    name = "probe"
    items = "probe/**/*.json"
    config = ProbeConfig
    makes = Media
    version = 2
    subjects = (DECODING,)

    def check(self, run: StageRun[ProbeConfig]) -> None:
        """Every dataset's folders are there, with media in them.

        Raises:
            DataError: one is not.
        """
        for dataset in run.shared.datasets:
            find_files(dataset)

    def observe(self, run: StageRun[ProbeConfig]) -> Observed:
        """The bytes of the footage and its captions, and how captions are found."""
        observed: dict[str, dict[str, Any]] = {}
        for dataset in run.shared.datasets:
            how = dataset.model_dump(mode="json", include={"caption_strategy", "instance_prompt"}, by_alias=True)
            how |= dataset.captions.model_dump(mode="json", exclude={"dropout"}, exclude_defaults=True, by_alias=True)
            observed[dataset.id] = {"captions": how, "footage": footage_digests(dataset, run.memo)}
            if dataset.audio.audio_dir is not None:
                observed[dataset.id]["missing_sound"] = dataset.audio.missing_audio
            if dataset.reference is not None and dataset.reference.reference_dir is not None:
                observed[dataset.id]["missing_reference"] = dataset.reference.missing_reference
        run.memo.save()
        return {"datasets": observed}

    def warnings(self, run: StageRun[ProbeConfig]) -> Sequence[str]:
        """Workspaces among the footage, of which nothing is taken; and files of which nothing is made, a line each
        kind."""
        within = [
            f"dataset {dataset.id}: {workspace} is a workspace; its renders and caches are not taken for footage"
            for dataset in run.shared.datasets
            for folder in dict.fromkeys(folders_of(dataset).values())
            for workspace in workspaces_in(folder)
        ]
        return (
            within
            + [
                f"dataset {dataset.id}: {len(files)} {_kind(suffix)} ignored: {_why_ignored(suffix, files, dataset)}"
                for dataset in run.shared.datasets
                for suffix, files in ignored_files(dataset).items()
            ]
            + [line for dataset in run.shared.datasets for line in _covers(dataset)]
        )

    def run(self, run: StageRun[ProbeConfig]) -> Outcome:
        """A verdict for each file; of its bytes, the store may know what it is."""
        store = ItemStore(run.workspace.store / "probe", run.progress)
        sources = [source for dataset in run.shared.datasets for source in find_sources(dataset, run.memo)]
        run.memo.save()
        looks, fresh = _look_at(sources, store, run)
        rows: list[Media] = []
        quarantined: list[Quarantined] = []
        computed = 0
        for source in sources:
            stop_if_asked(run.progress, "probing")
            try:
                info = _info(source, looks)
                beside = files_beside(source, info, store, run)
                rows.append(_row(source, info, _captions(source)).model_copy(update=beside))
                computed += _looked_for(source) in fresh
                fresh.discard(_looked_for(source))
            except MediaError as error:
                quarantined.append(_verdict(source, error))
        run.progress.advance(len(sources), len(sources), "files")
        for dataset in run.shared.datasets:
            if dataset.captions.missing != "model":  # else the stage `caption` sees all captions
                own = (row.captions for row in rows if row.dataset == dataset.id)
                check_trigger(dataset, chain.from_iterable(own))
        return Outcome(
            rows=rows,
            quarantined=quarantined,
            num_in=len(sources),
            num_out=len(rows),
            computed=computed,
            unit="files",
            figures={
                "seconds_of_footage": sum(row.duration_seconds for row in rows if not row.is_image),
                "files_ignored": sum(
                    len(files) for dataset in run.shared.datasets for files in ignored_files(dataset).values()
                ),
            },
        )


class Look(NamedTuple):
    """The finding about a file, or why it cannot be used, and the path of the copy that was read."""

    found: dict[str, Any] | MediaError
    path: Path


def _look_at(
    sources: Sequence[Source], store: ItemStore, run: StageRun[ProbeConfig]
) -> tuple[dict[tuple[str, str], Look], set[tuple[str, str]]]:
    """Each file once, by the digest of its bytes and for what it is probed; those that the store did not know too."""
    first: dict[tuple[str, str], Source] = {}
    for source in sources:
        if source.media_digest not in (UNREADABLE, CHANGING):
            first.setdefault(_looked_for(source), source)
    keys = {
        (digest, kind): text_digest(digest, run.version, *([kind] if kind == "audio" else [])) for digest, kind in first
    }
    jobs = [
        FileJob(keys[what], {one.path: what[0]}, probe_audio if what[1] == "audio" else probe_media, (one.path,))
        for what, one in first.items()
    ]
    found, fresh = get_or_read(jobs, run, store, "probing", dataclasses.asdict, total=len(sources))
    looks = {what: Look(found[keys[what]], one.path) for what, one in first.items()}
    return looks, {what for what, key in keys.items() if key in fresh}


def _looked_for(source: Source) -> tuple[str, str]:
    """The bytes that are probed, and for `video` or `audio`."""
    return source.media_digest, source.dataset.dataset_type


def _info(source: Source, looks: Mapping[tuple[str, str], Look]) -> MediaInfo:
    if source.media_digest in (UNREADABLE, CHANGING):
        raise not_read(source.path, source.media_digest)
    found, path = looks[_looked_for(source)]
    if isinstance(found, MediaError):
        raise MediaError(found.reason, str(found).replace(str(path), str(source.path)))
    return MediaInfo(**found)


def _captions(source: Source) -> tuple[str, ...]:
    """The captions, of the bytes that were found; an empty one where a model is to write it for each clip.

    Raises:
        MediaError: there is none and none will be, or it cannot be read.
        ChangedError: its file is edited at this moment.
    """
    dataset = source.dataset
    try:
        captions = read_captions(source.path, dataset)
    except MediaError as error:
        if error.reason is not QuarantineReason.NO_CAPTION or dataset.captions.missing != "model":
            raise
        captions = ("",)
    if caption_digest(dataset, source.path) != source.caption_digest:
        raise changed(caption_file(source.path))
    return captions


def _row(source: Source, info: MediaInfo, captions: Sequence[str]) -> Media:
    return Media(
        media_id=f"{source.dataset.id}/{source.relpath}",
        media_key=source.media_digest,
        dataset=source.dataset.id,
        relpath=source.relpath,
        path=str(source.path),
        caption=captions[0],
        variants=list(captions[1:]),
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


def _kind(suffix: str) -> str:
    return f"{one_line(suffix)} files" if suffix else "files without a suffix"


KNOWN = {"video": "video or image", "audio": "audio or video"}
"""The files that are taken from the folder of a dataset of each type."""


def _why_ignored(suffix: str, files: Sequence[Path], dataset: DatasetSpec) -> str:
    if suffix in OTHER_IMAGES:
        return f"such an image is not read; save {one_line(shown_name(Path(files[0].name)))} as PNG or JPEG"
    return f"not known as {KNOWN[dataset.dataset_type]}"


def _covers(dataset: DatasetSpec) -> Iterator[str]:
    """A warning of images that bear the name of a video, as downloaded covers do."""
    media = media_files(dataset)
    videos = {path.with_suffix("") for path in media if not is_image(path)}
    covers = [path for path in media if is_image(path) and path.with_suffix("") in videos]
    if covers:
        yield (
            f"dataset {dataset.id}: {len(covers)} images have the name of a video, such as "
            f"{one_line(shown_name(covers[0]))}, "
            f"and are trained on beside it with its caption; move cover images to another folder"
        )


def named(clip: Clip, row: Media, spec: DatasetSpec) -> Clip:
    """The clip with the names of the file it was found in this time, and that file's mask and reference."""
    start = clip.clip_id.partition("@")[2]
    made = clip.model_copy(
        update={
            "clip_id": f"{row.media_id}@{start}",
            "media_id": row.media_id,
            "dataset": row.dataset,
            "path": row.path,
            "caption": row.caption,
            "variants": row.variants,
            "repeats": spec.repeats,
            "mask_key": row.mask_key,
            "mask_path": row.mask_path,
            "audio_reference_key": row.audio_reference_key,
            "audio_reference_path": row.audio_reference_path,
            **_reference_of(row, spec),
            "keyframes": _keyframes_of(clip, spec),
        }
    )
    if not (made.mask_key or made.reference or made.keyframes or made.audio_reference_key):
        return made
    return made.model_copy(update={"clip_key": keyed(made)})


def _keyframes_of(clip: Clip, spec: DatasetSpec) -> list[int]:
    """Numbers of the frames of a clip that are encoded as images too; none of an image, or of audio alone."""
    last = clip.num_frames - 1
    return sorted({max(round(fraction * last), 1) for fraction in spec.keyframes}) if last and clip.has_video else []


def _reference_of(row: Media, spec: DatasetSpec) -> dict[str, Any]:
    """Return the fields of a clip of the file that say what its reference is; nothing without one."""
    wanted = spec.reference
    if wanted is None or (wanted.derive is None and row.reference_key is None):
        return {}
    return {
        "reference": wanted.derive or "file",
        "reference_downscale": wanted.downscale_factor,
        "reference_stride": wanted.frame_factor,
        "reference_key": row.reference_key,
        "reference_path": row.reference_path,
    }


def renamed(one: Quarantined, row: Media) -> Quarantined:
    """Return the quarantine rows of a file, with the names that the file has this time."""
    start = one.item.partition("@")[2]
    item = f"{row.media_id}@{start}" if start else row.media_id
    return one.model_copy(
        update={
            "item": item,
            "source": row.relpath,
            "path": row.path,
            "detail": one.detail.replace(SOURCE, row.relpath),
        }
    )


def files_beside(source: Source, info: MediaInfo, store: ItemStore, run: StageRun[Any]) -> dict[str, str]:
    """The columns of the file's row that are about what lies beside it.

    Raises:
        MediaError: NO_AUDIO, BAD_MASK, NO_REFERENCE or BAD_REFERENCE, one is missing, ambiguous or not what it should
            be; or it cannot be read.
    """
    columns: dict[str, str] = {}
    for kind, files in source.beside.items():
        if kind == "sound" and is_still(info.container, info.num_frames):
            continue
        if (file := _only(source, kind, files)) is None:
            continue
        if file.digest in (UNREADABLE, CHANGING):
            raise not_read(file.path, file.digest)
        if kind in ("sound", "audio reference"):
            _see_audio(kind, file, store, run)
        else:
            _see_shape(kind, file, (info.width, info.height), store, run)
        column = kind.replace(" ", "_")
        columns |= {f"{column}_key": file.digest, f"{column}_path": str(file.path)}
    return columns


REASONS = {
    "sound": QuarantineReason.NO_AUDIO,
    "audio reference": QuarantineReason.BAD_REFERENCE,
    "mask": QuarantineReason.BAD_MASK,
    "reference": QuarantineReason.BAD_REFERENCE,
}


def _only(source: Source, kind: str, files: Sequence[FileBeside]) -> FileBeside | None:
    """The one of these files that belongs to a file of footage; None where it has none and needs none.

    Raises:
        MediaError: there are several, or none though one is wanted.
    """
    if len(files) == 1:
        return files[0]
    dataset, reason, names = source.dataset, REASONS[kind], ", ".join(one.path.name for one in files)
    if kind == "sound":
        absent, missing, option, suffix = "audio file", dataset.audio.missing_audio, "audio.missing_audio", ".wav"
    elif kind == "reference" and dataset.reference is not None:
        absent, missing, option = "reference", dataset.reference.missing_reference, "reference.missing_reference"
        suffix, reason = ".mp4", reason if files else QuarantineReason.NO_REFERENCE
    elif files:
        raise MediaError(reason, f"{source.relpath} has several {kind}s, {names}; keep one of them")
    else:
        return None
    if not files and missing == "without":
        return None
    raise MediaError(
        reason,
        f"{source.relpath} has {names or f'no {absent} of its name'} in {folders_beside(dataset)[kind]}; one is "
        f"wanted, such as {PurePosixPath(source.relpath).with_suffix(suffix)}. Put it there, or set {option}: without.",
    )


def _see_audio(kind: str, file: FileBeside, store: ItemStore, run: StageRun[Any]) -> None:
    """See that there is audio in a file; once for its bytes."""
    path, digest = file

    def look() -> dict[str, bool]:
        if not read_file(run, "probing audio files", {path: digest}, has_audio, path, is_doubtful=operator.not_):
            raise MediaError(REASONS[kind], f"{path} holds no audio; put an audio file there")
        return {"has_sound": True}

    store.get_or_compute(text_digest(kind, digest, run.version), look)


def _see_shape(kind: str, file: FileBeside, size: tuple[int, int], store: ItemStore, run: StageRun[Any]) -> None:
    """See that a mask or a reference has the shape of its video; once for its bytes and that shape."""
    path, digest = file

    def look() -> dict[str, bool]:
        read_file(run, f"probing {kind}s", {path: digest}, check_shape, path, size, kind, REASONS[kind])
        return {"fits": True}

    store.get_or_compute(text_digest(kind, digest, path.suffix.lower(), repr(size), run.version), look)
