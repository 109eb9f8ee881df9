"""Decode once: scene cuts, quality figures, sound class; cut clips, assign buckets, exact spans and the eval split."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from datasets_spec import AudioSpec, Clip, DatasetSpec, Media, Quarantined
from ltx_core.files.digest import DigestMemo, text_digest
from ltx_core.media.duplicates import mark_duplicates
from ltx_core.media.errors import MediaError
from ltx_core.media.holdout import assign_splits
from ltx_core.media.quality import QualityThresholds
from ltx_core.media.rates import CHANGED_FRAMES
from ltx_core.media.split import split_media
from ltx_core.pool.items import ItemStore
from ltx_core.progress import stop_if_asked
from ltx_core.shapes import floor_frames
from tasks.contact_sheets import draw_contact_sheets
from tasks.file_reading import FileJob, read_files
from tasks.resound import resound
from tasks.shared import ConfigModel, Shared
from tasks.source_names import PLACEHOLDER, named, renamed
from tasks.stage import Inputs, Observed, Outcome, Stage
from tasks.stage_run import StageRun
from tasks.subjects import DECODING
from tasks.workspace import Workspace

SPLIT_FIELDS = {"resolution", "resolution_type", "crop", "video", "audio"}
"""Parts of a dataset that change how one file is cut."""


class SplitConfig(ConfigModel):
    """What counts as hopeless. The defaults remove only that."""

    max_black_fraction: float = Field(default=0.9, ge=0, le=1, description="Clips with more black frames go.")
    max_frozen_fraction: float = Field(default=0.98, ge=0, le=1, description="Clips with more frozen frames go.")
    remove_duplicates: bool = Field(default=True, description="Keep one of clips that look and measure the same.")
    contact_sheet_clips: int = Field(
        default=24, ge=0, le=500, description="Clips shown on each contact sheet; 0: none."
    )


def split(run: StageRun) -> Outcome:
    """Cut every file, each file's decode kept by its bytes and the settings that change its cuts."""
    media: list[Media] = list(run.inputs["probe"])
    clips: list[Clip] = []
    quarantined: list[Quarantined] = []
    fresh: set[str] = set()
    for line in resampling_lines(run.config, run.shared, run.inputs, run.workspace):
        run.progress.note(line)
    cuts = _cut_files(media, run, ItemStore(run.workspace.pool / "split", run.progress))
    for row, cut in zip(media, cuts, strict=True):
        stop_if_asked(run.progress, "splitting")
        try:
            found, refused, is_new = _clips_of(row, cut, run)
        except MediaError as error:  # its sound is another by now, or away
            found, refused, is_new = [], [_refused(row, error)], False
        clips += found
        quarantined += refused
        fresh |= {clip.clip_id for clip in found} if is_new else set()
    run.progress.advance(len(media), len(media), "files")
    num_in = len(clips) + len(quarantined)
    if run.config.remove_duplicates:
        clips, duplicates = mark_duplicates(clips)
        quarantined += duplicates
    clips = _hold_out(clips, run.shared)
    draw_contact_sheets(clips, {row.media_id: row.usual_rate for row in media}, run)
    computed = sum(clip.clip_id in fresh for clip in clips)
    return Outcome(
        rows=clips,
        quarantined=quarantined,
        num_in=num_in,
        num_out=len(clips),
        computed=computed,
        reused=len(clips) - computed,
        unit="clips",
        figures=_figures(media, clips),
    )


class Cut(NamedTuple):
    """Clips of a file and what is set aside of it, as the pool keeps them, and whether they were made just now."""

    known: dict[str, Any]
    is_new: bool


def _cut_files(media: Sequence[Media], run: StageRun, store: ItemStore) -> list[Cut]:
    """Of each file in order; files of equal bytes that are cut alike are cut once."""
    config = run.config
    thresholds = QualityThresholds(
        max_black_fraction=config.max_black_fraction, max_frozen_fraction=config.max_frozen_fraction
    )
    keys: list[str] = []
    known: dict[str, dict[str, Any]] = {}
    jobs: dict[str, FileJob] = {}
    for row in media:
        spec = _pictures_alone(run.shared.dataset(row.dataset))
        settings = json.dumps(_settings(spec, SPLIT_FIELDS), separators=(",", ":"), ensure_ascii=False)
        key = text_digest(row.media_key, settings, repr(thresholds), run.version)
        keys.append(key)
        if key in known or key in jobs:
            continue
        kept = None if run.force else store.get(key)
        if kept is None:
            placed = row.model_copy(update=PLACEHOLDER | {"path": row.path})
            jobs[key] = FileJob(
                key, {Path(row.path): row.media_key}, split_media, (placed, spec, thresholds), _is_doubtful
            )
        else:
            known[key] = kept
    for done, (key, result) in enumerate(read_files(list(jobs.values()), run, "splitting")):
        known[key] = as_kept(jobs[key].arguments[0], result)
        if not isinstance(result, MediaError):  # the next look may go otherwise
            store.put(key, known[key])
        run.progress.advance(len(media) - len(jobs) + done + 1, len(media), "files")
    return [Cut(known[key], key in jobs) for key in keys]


def _clips_of(row: Media, cut: Cut, run: StageRun) -> tuple[list[Clip], list[Quarantined], bool]:
    """What the pool knows of the bytes of a file, with the file's names and the sound that belongs to it; and whether
    any of it was made just now."""
    spec, is_new = run.shared.dataset(row.dataset), cut.is_new
    clips = [named(Clip.model_validate(clip), row, spec) for clip in cut.known["clips"]]
    refused = [renamed(Quarantined.model_validate(one), row) for one in cut.known["refused"]]
    if spec.audio.sound_dir is not None and row.sound_key is not None:
        clips, heard_anew = resound(clips, row, run)
        is_new |= heard_anew
    return clips, refused, is_new


def _pictures_alone(spec: DatasetSpec) -> DatasetSpec:
    """How the pictures are cut, whatever the sound becomes if it comes from elsewhere."""
    if spec.audio.sound_dir is None:
        return spec
    return spec.model_copy(update={"audio": AudioSpec(auto_split=False)})


def as_kept(row: Media, result: tuple[list[Clip], list[Quarantined]] | MediaError) -> dict[str, Any]:
    """Clips of a file and what is set aside of it, or the file itself, as JSON."""
    if isinstance(result, MediaError):
        result = [], [_refused(row, result)]
    clips, refused = result
    return {
        "clips": [clip.model_dump(mode="json") for clip in clips],
        "refused": [one.model_dump(mode="json") for one in refused],
    }


def _is_doubtful(made: tuple[list[Clip], list[Quarantined]]) -> bool:
    """Whether anything bad is said of a file."""
    clips, refused = made
    return bool(refused) or any(clip.audio == "broken" for clip in clips)


def _refused(row: Media, error: MediaError) -> Quarantined:
    return Quarantined(item=row.media_id, source=row.relpath, reason=error.reason, detail=str(error), path=row.path)


def _settings(spec: DatasetSpec, fields: set[str]) -> dict[str, Any]:
    """Options of a dataset as keys have them: without where sounds lie, and without a least size that is none."""
    extra = {"minimum_image_size"} if spec.minimum_image_size else set()
    hidden = {"audio": {"sound_dir", "missing_sound", "silence"}}
    return spec.model_dump(mode="json", include=fields | extra, exclude=hidden)


def _hold_out(clips: Sequence[Clip], shared: Shared) -> list[Clip]:
    by_dataset: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_dataset[clip.dataset].append(clip)
    return [c for name, group in by_dataset.items() for c in assign_splits(group, shared.dataset(name).eval_fraction)]


def _figures(media: Sequence[Media], clips: Sequence[Clip]) -> dict[str, float]:
    used = sum(clip.num_frames / clip.frame_rate for clip in clips)
    total = sum(row.duration_seconds for row in media)
    return {
        "buckets": len({clip.bucket for clip in clips}),
        "eval_clips": sum(clip.split == "eval" for clip in clips),
        "seconds_used": used,
        "seconds_lost": max(total - used, 0.0),
    }


def observe(_config: SplitConfig, shared: Shared, _memo: DigestMemo) -> Observed:
    """How each dataset is to be cut, repeated and held out."""
    fields = SPLIT_FIELDS | {"repeats", "eval_fraction"}
    elsewhere = {d.id: {"sound": "elsewhere"} for d in shared.datasets if d.audio.sound_dir is not None}
    return {"datasets": {d.id: _settings(d, fields) | elsewhere.get(d.id, {}) for d in shared.datasets}}


def split_notices(_config: SplitConfig, shared: Shared) -> Sequence[str]:
    """Numbers of frames that the VAE does not have."""
    return [
        f"dataset {dataset.id}: num_frames {asked} becomes {frames}, the VAE takes 8k+1 frames"
        for dataset in shared.datasets
        if (frames := floor_frames(asked := dataset.video.num_frames)) != asked
    ]


def resampling_lines(_config: SplitConfig, shared: Shared, inputs: Inputs, _workspace: Workspace) -> Sequence[str]:
    """What resampling does to each dataset's files, as far as they were probed."""
    if "probe" not in inputs:
        return []
    lines = []
    for dataset in shared.datasets:
        wanted = dataset.video.frame_rate
        files = [row for row in inputs["probe"] if row.dataset == dataset.id]
        if wanted == "native" or not files:
            continue
        dropped, repeated = (
            sum(max(sign * (row.usual_rate - wanted), 0) * row.duration_seconds for row in files) for sign in (1, -1)
        )
        if dropped + repeated >= CHANGED_FRAMES:
            lines.append(
                f"dataset {dataset.id}: at {wanted:g} frames a second {repeated:.0f} frames are repeated and "
                f"{dropped:.0f} dropped, of {sum(row.num_frames for row in files)} in {len(files)} files; "
                f"video.frame_rate: native repeats none"
            )
    return lines


STAGE = Stage(
    name="split",
    summary=__doc__,
    version=2,
    subjects=(DECODING,),
    config=SplitConfig,
    needs=("probe",),
    makes=Clip,
    run=split,
    observe=observe,
    notices=split_notices,
    memory=resampling_lines,
    artifacts=("contact-sheet-*.png",),
)
