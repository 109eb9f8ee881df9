"""Decode each file once: find scene cuts, measure quality, classify audio, cut clips, assign buckets and eval split."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from datasets_spec import AudioSpec, Clip, DatasetSpec, Media, Quarantined
from datasets_spec.options import ConfigModel
from datasets_spec.rows import AudioKind
from ltx_core.io.digest import text_digest
from ltx_core.media.clip import Heard, clip_files, clip_seconds, heard, mirrored, some_frames, with_audio
from ltx_core.media.errors import MediaError
from ltx_core.media.forecast import forecast_lines
from ltx_core.media.quality import QualityThresholds, assign_splits, mark_duplicates, quarantined_file, weighted_repeats
from ltx_core.media.split import audible, split_media
from ltx_core.media.windows import CHANGED_FRAMES, resampled
from ltx_core.progress import stop_if_asked
from ltx_core.report.contact_sheet import SheetRow, contact_sheet
from ltx_core.shapes import floor_frames
from ltx_core.store.json_items import ItemStore
from tasks.runtime.shared import Shared
from tasks.runtime.stage import DECODING, Observed, Outcome, Stage, StageRun
from tasks.stages.parts.file_reading import FileJob, get_or_read, read_file, read_files
from tasks.stages.probe import PLACEHOLDER, named, renamed

USES = {"weight": None, "flip": "none"}
"""Options of how clips are used, with values that change nothing and are left out of keys."""
SPLIT_FIELDS = {"resolution", "resolution_type", "crop", "video", "audio"}
"""Parts of a dataset that change how one file is cut."""


SIDES = re.compile(r"\b(left|right)\b", re.IGNORECASE)
"""Words of a caption that would be wrong of a mirrored clip."""


class SplitConfig(ConfigModel):
    """Thresholds above which a clip counts as hopeless. The defaults remove only such clips."""

    max_black_fraction: float = Field(
        default=0.9, ge=0, le=1, description="Clips with a larger fraction of black frames are quarantined."
    )
    max_frozen_fraction: float = Field(
        default=0.98, ge=0, le=1, description="Clips with a larger fraction of frozen frames are quarantined."
    )
    remove_duplicates: bool = Field(
        default=True, description="Keep only one of several clips that look the same and have the same quality figures."
    )
    contact_sheet_clips: int = Field(
        default=24, ge=0, le=500, description="Clips shown on each contact sheet. 0: no contact sheet."
    )


class Split(Stage[SplitConfig, Clip]):
    """Cuts every file; what its decode gives is kept by its bytes and the settings that change its cuts."""

    name = "split"
    items = "split/**/*.json"
    config = SplitConfig
    needs = ("probe",)
    makes = Clip
    version = 2
    subjects = (DECODING,)
    artifacts = ("contact-sheet-*.png",)

    def observe(self, run: StageRun[SplitConfig]) -> Observed:
        """Settings by which each dataset is cut, repeated and held out."""
        fields, datasets = SPLIT_FIELDS | {"repeats", "eval_fraction", *USES}, run.shared.datasets
        elsewhere = {d.id: {"sound": "elsewhere"} for d in datasets if d.audio.audio_dir is not None}
        elsewhere |= {d.id: {"silence": d.audio.silence} for d in datasets if d.dataset_type == "audio"}
        own = {d.id: elsewhere.get(d.id, {}) | _beside(d) for d in datasets}
        return {"datasets": {d.id: _settings(d, fields) | own[d.id] for d in datasets}}

    def warnings(self, run: StageRun[SplitConfig]) -> Sequence[str]:
        """Numbers of frames that the VAE does not have."""
        return [
            f"dataset {dataset.id}: num_frames {asked} becomes {frames}, the VAE takes 8k+1 frames"
            for dataset in run.shared.datasets
            for asked in dataset.video.frame_counts
            if (frames := floor_frames(asked)) != asked
        ]

    def memory(self, run: StageRun[SplitConfig]) -> Sequence[str]:
        """Buckets of the files that are probed by now, and frames that resampling repeats and drops."""
        if "probe" not in run.inputs:
            return []
        rows: list[Media] = list(run.inputs["probe"])
        by_dataset = {one.id: [row for row in rows if row.dataset == one.id] for one in run.shared.datasets}
        lines = (forecast_lines(by_dataset[one.id], one) for one in run.shared.datasets if by_dataset[one.id])
        return [*chain.from_iterable(lines), *_resampling(run)]

    def run(self, run: StageRun[SplitConfig]) -> Outcome:
        """Clips of every file, those of equal bytes cut once."""
        media: list[Media] = list(run.inputs["probe"])
        clips: list[Clip] = []
        quarantined: list[Quarantined] = []
        fresh: set[str] = set()
        for line in _resampling(run):
            run.progress.note(line)
        cuts = _cut_files(media, run, ItemStore(run.workspace.store / "split", run.progress))
        for row, cut in zip(media, cuts, strict=True):
            stop_if_asked(run.progress, "splitting")
            try:
                found, refused, is_new = _clips_of(row, cut, run)
            except MediaError as error:  # its audio is another by now, or away
                found, refused, is_new = [], [quarantined_file(row, error.reason, str(error))], False
            clips += found
            quarantined += refused
            fresh |= {clip.clip_id for clip in found} if is_new else set()
        run.progress.advance(len(media), len(media), "files")
        if run.config.remove_duplicates:
            clips, duplicates = mark_duplicates(clips)
            quarantined += duplicates
        clips = _hold_out(clips, run.shared)
        draw_contact_sheets(clips, {row.media_id: row.usual_rate for row in media}, run)
        clips = _weighted(_with_mirrored(clips, run), run)
        num_in = len(clips) + len(quarantined)
        computed = sum(clip.clip_id in fresh for clip in clips)
        return Outcome(
            rows=clips,
            quarantined=quarantined,
            num_in=num_in,
            num_out=len(clips),
            computed=computed,
            unit="clips",
            figures=_figures(media, clips),
        )


def _resampling(run: StageRun[SplitConfig]) -> list[str]:
    """For people: frames that resampling repeats and drops."""
    lines = []
    for dataset in run.shared.datasets:
        wanted = dataset.video.frame_rate
        files = [row for row in run.inputs["probe"] if row.dataset == dataset.id and not row.is_image]
        if wanted == "native" or not files or dataset.dataset_type == "audio":
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


class Cut(NamedTuple):
    """Clips of a file and what is quarantined of it, as the store keeps them, and whether they were made just now."""

    known: dict[str, Any]
    is_new: bool


def _cut_files(media: Sequence[Media], run: StageRun[SplitConfig], store: ItemStore) -> list[Cut]:
    """Of each file in order; files of equal bytes that are cut alike are cut once."""
    config = run.config
    thresholds = QualityThresholds(
        max_black_fraction=config.max_black_fraction, max_frozen_fraction=config.max_frozen_fraction
    )
    keys: list[str] = []
    jobs: dict[str, FileJob] = {}
    for row in media:
        spec = _images_alone(run.shared.dataset(row.dataset))
        downscale = {"downscale": spec.downscale_factor} if spec.downscale_factor > 1 else {}
        settings = json.dumps(_settings(spec, SPLIT_FIELDS) | downscale, separators=(",", ":"), ensure_ascii=False)
        key = text_digest(row.media_key, settings, repr(thresholds), run.version)
        keys.append(key)
        placed = row.model_copy(update=PLACEHOLDER | {"path": row.path})
        job = FileJob(key, {Path(row.path): row.media_key}, split_media, (placed, spec, thresholds), _is_doubtful)
        jobs.setdefault(key, job)
    found, fresh = get_or_read(list(jobs.values()), run, store, "splitting", as_kept, total=len(media))
    for key, result in found.items():
        if isinstance(result, MediaError):
            found[key] = as_kept(([], [quarantined_file(jobs[key].arguments[0], result.reason, str(result))]))
    return [Cut(found[key], key in fresh) for key in keys]


def _clips_of(row: Media, cut: Cut, run: StageRun[SplitConfig]) -> tuple[list[Clip], list[Quarantined], bool]:
    """The store's knowledge of the bytes of a file, with the file's names and the audio that belongs to it; and whether
    any of it was made just now."""
    spec, is_new = run.shared.dataset(row.dataset), cut.is_new
    clips = [named(Clip.model_validate(clip), row, spec) for clip in cut.known["clips"]]
    refused = [renamed(Quarantined.model_validate(one), row) for one in cut.known["refused"]]
    if spec.dataset_type == "audio":
        clips, mute = audible(clips, spec)
        return clips, refused + mute, is_new
    if spec.audio.audio_dir is not None and row.sound_key is not None:
        clips, heard_anew = with_other_audio(clips, row, run)
        is_new |= heard_anew
    return clips, refused, is_new


def _images_alone(spec: DatasetSpec) -> DatasetSpec:
    """The way in which frames are cut, whatever the audio becomes if it comes from elsewhere."""
    if spec.audio.audio_dir is None:
        return spec
    return spec.model_copy(update={"audio": AudioSpec(auto_split=False)})


def as_kept(made: tuple[list[Clip], list[Quarantined]]) -> dict[str, Any]:
    """Clips of a file and what is quarantined of it, as JSON."""
    clips, refused = made
    return {
        "clips": [clip.model_dump(mode="json") for clip in clips],
        "refused": [one.model_dump(mode="json") for one in refused],
    }


def _is_doubtful(made: tuple[list[Clip], list[Quarantined]]) -> bool:
    """True if anything bad is said of a file."""
    clips, refused = made
    return bool(refused) or any(clip.audio == "broken" for clip in clips)


def _settings(spec: DatasetSpec, fields: set[str]) -> dict[str, Any]:
    """Options of a dataset as keys have them: without where audio files lie, and without a least size that is none."""
    extra = {"minimum_image_size"} if spec.minimum_image_size else set()
    extra |= {"dataset_type"} if spec.dataset_type != "video" else set()
    fields = {name for name in fields if name not in USES or getattr(spec, name) != USES[name]}
    hidden = {"audio": {"audio_dir", "missing_audio", "silence", "reference_dir"}}
    return spec.model_dump(mode="json", include=fields | extra, exclude=hidden, by_alias=True)


def _beside(spec: DatasetSpec) -> dict[str, Any]:
    """Return what a dataset has beside its clips, and how it is made, for its key; files are known by their content."""
    found: dict[str, Any] = {"keyframes": list(spec.keyframes)} if spec.keyframes else {}
    if spec.reference is None:
        return found
    fields = {"derive", "downscale_factor", "frame_factor"}
    return found | {"reference": spec.reference.model_dump(mode="json", include=fields)}


def _hold_out(clips: Sequence[Clip], shared: Shared) -> list[Clip]:
    by_dataset: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_dataset[clip.dataset].append(clip)
    return [c for name, group in by_dataset.items() for c in assign_splits(group, shared.dataset(name).eval_fraction)]


def says_a_side(captions: Sequence[str]) -> bool:
    """Return whether captions would be wrong of a mirrored clip."""
    return any(SIDES.search(caption) for caption in captions)


def _with_mirrored(clips: Sequence[Clip], run: StageRun[SplitConfig]) -> list[Clip]:
    """The clips, each followed by its mirrored twin if its dataset wants that."""
    made: list[Clip] = []
    sided: Counter[str] = Counter()
    for clip in clips:
        made.append(clip)
        if run.shared.dataset(clip.dataset).flip == "none" or clip.split == "eval":
            continue
        if says_a_side(clip.captions):
            sided[clip.dataset] += 1
        else:
            made.append(mirrored(clip))
    for name, count in sided.items():
        run.progress.note(f"dataset {name}: {count} clips are not mirrored, because their captions say left or right")
    return made


def _weighted(clips: Sequence[Clip], run: StageRun[SplitConfig]) -> list[Clip]:
    """The clips with repeats from the weights of their datasets, if these have any."""
    weights = {dataset.id: dataset.weight for dataset in run.shared.datasets if dataset.weight is not None}
    if not weights:
        return list(clips)
    counts = Counter(clip.dataset for clip in clips if clip.split == "train")
    repeats = weighted_repeats(counts, weights)
    for name, number in repeats.items():
        run.progress.note(f"dataset {name}: {counts[name]} clips, {number} samples of each in an epoch, by its weight")
    return [clip.model_copy(update={"repeats": repeats.get(clip.dataset, 1)}) for clip in clips]


def _figures(media: Sequence[Media], clips: Sequence[Clip]) -> dict[str, float]:
    images = {row.media_id for row in media if row.is_image}
    moving = [clip for clip in clips if clip.media_id not in images and not clip.is_mirrored]
    used = sum(clip.num_frames / clip.frame_rate for clip in moving)
    total = sum(row.duration_seconds for row in media if not row.is_image)
    return {
        "buckets": len({clip.bucket for clip in clips}),
        "eval_clips": sum(clip.split == "eval" for clip in clips),
        "seconds_used": used,
        "seconds_lost": max(total - used, 0.0),
    }


def with_other_audio(clips: Sequence[Clip], media: Media, run: StageRun[SplitConfig]) -> tuple[list[Clip], bool]:
    """The clips with the audio of the same seconds of `media`'s audio file, and whether any was heard anew.

    Raises:
        MediaError: the audio file changed or went away since it was probed.
    """
    store = ItemStore(run.workspace.store / "heard", run.progress)
    channels = run.shared.dataset(media.dataset).audio.channels
    path, sound_key = Path(str(media.sound_path)), str(media.sound_key)
    made: list[Clip] = []
    is_new = False
    for clip in clips:
        stop_if_asked(run.progress, "listening")
        span = (f"{clip.start_seconds:.6f}", f"{clip_seconds(clip):.6f}", str(channels))
        key = text_digest(sound_key, *span, run.version)
        span_of = (path, clip.start_seconds, clip_seconds(clip), channels)
        listen = partial(read_file, run, "listening", {path: sound_key}, heard, *span_of, is_doubtful=_is_broken)
        known, anew = store.get_or_compute(key, listen, anew=run.force)
        is_new |= anew
        made.append(with_audio(clip, Heard(*known), path=str(path), key=sound_key, channels=channels))
    return made, is_new


def _is_broken(found: tuple[AudioKind, float]) -> bool:
    return found[0] == "broken"


THUMBNAILS = 5
NO_CAPTION_YET = "(no caption yet: the stage `caption` writes one)"


def draw_contact_sheets(clips: Sequence[Clip], rates: Mapping[str, float], run: StageRun[SplitConfig]) -> None:
    """Draw the first clips of each dataset and split, a row each, with caption and figures.

    `rates`: the usual frame rate of each file, by its id.
    """
    for name in sorted({(clip.dataset, clip.split) for clip in clips}):
        of_sheet = sorted((c for c in clips if (c.dataset, c.split) == name), key=lambda clip: clip.clip_id)
        chosen = {clip.clip_id: clip for clip in of_sheet[: run.config.contact_sheet_clips]}
        jobs = [FileJob(key, clip_files(clip), some_frames, (clip, _picked(clip))) for key, clip in chosen.items()]
        rows = []
        for key, frames in read_files(jobs, run, "drawing contact sheets"):
            if isinstance(frames, MediaError):
                run.progress.note(f"{key} is not on its contact sheet: {frames}")
            else:
                rows.append(SheetRow(_label(chosen[key], rates[chosen[key].media_id]), list(frames)))
        if rows:
            contact_sheet(run.out / f"contact-sheet-{name[0]}-{name[1]}.png", rows)


def _picked(clip: Clip) -> list[int]:
    if not clip.has_video:  # one image says all
        return [0]
    return sorted({round(i * (clip.num_frames - 1) / (THUMBNAILS - 1)) for i in range(THUMBNAILS)})


def _label(clip: Clip, usual_rate: float) -> str:
    heard_as = (
        f"{clip.audio} {clip.loudness_db:.0f} dB" if clip.audio not in ("none", "broken") else f"audio: {clip.audio}"
    )
    changed = resampled(usual_rate, clip.frame_rate, clip_seconds(clip)) if clip.phase_seconds == 0 else ""
    more = f"  (and {len(clip.variants)} variants)" if clip.variants else ""
    rate = "one frame" if clip.num_frames == 1 else f"{clip.frame_rate:g} fps" + (f" ({changed})" if changed else "")
    caption = clip.caption or NO_CAPTION_YET
    return f"{clip.clip_id}  {clip.bucket}  {rate}  {heard_as}  motion {clip.motion:.3f}  |  {caption}{more}"
