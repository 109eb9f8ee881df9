"""The part of a run's report about footage: datasets, buckets, and clips that play."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path

from markupsafe import Markup

from datasets_spec import Clip
from flows.config import RunConfig
from flows.report.summary import FinishedRun
from ltx_core.io.atomic import find_whole
from ltx_core.media.clip import clip_files, clip_seconds
from ltx_core.media.errors import MediaError
from ltx_core.media.preview import write_preview
from ltx_core.report.page import Badge, Cell, ClipPreview, Section, clips, table
from tasks.stages.parts.file_reading import FileJob, read_files

Advance = Callable[[int, int, str], None]
"""Hears how many of how many are done, and what they are."""
MOST_CLIPS = 24
"""Clips that a report plays; making their previews decodes them."""
DATASET_HEADERS = ("dataset", "folder", "files", "clips", "held out", "seconds", "with audio")
BUCKET_HEADERS = ("bucket", "clips", "held out", "seconds")


def dataset_section(config: RunConfig, summary: FinishedRun, page: Path, advance: Advance) -> Section | None:
    """Datasets, buckets and clips; None for a run that reads no clips."""
    rows = summary.clips
    if rows is None:
        return None
    shown = previews(rows, summary, advance)
    parts = [
        table(DATASET_HEADERS, _dataset_rows(config, rows)),
        table(BUCKET_HEADERS, _bucket_rows(rows)),
        clips(shown, page),
    ]
    note = f"{len(shown)} of {len(rows)} clips, as training sees them." if shown else ""
    return Section("Dataset", Markup("\n<br>\n").join(parts), note)


def _dataset_rows(config: RunConfig, rows: Sequence[Clip]) -> list[list[Cell]]:
    shown: list[list[Cell]] = []
    for dataset in config.datasets:
        own = [clip for clip in rows if clip.dataset == dataset.id]
        files = len({clip.media_id for clip in own})
        with_audio = sum(clip.audio in ("voiced", "other") for clip in own)
        shown.append([dataset.id, str(dataset.instance_data_dir), files, *_counts(own), with_audio])
    return shown


def _bucket_rows(rows: Sequence[Clip]) -> list[list[Cell]]:
    buckets: dict[str, list[Clip]] = defaultdict(list)
    for clip in rows:
        buckets[clip.bucket].append(clip)
    return [[name, *_counts(own)] for name, own in sorted(buckets.items())]


def _counts(own: Sequence[Clip]) -> list[Cell]:
    held_out = sum(clip.split == "eval" for clip in own)
    return [len(own), held_out, round(sum(clip_seconds(clip) for clip in own if clip.num_frames > 1), 1)]


def previews(rows: Sequence[Clip], summary: FinishedRun, advance: Advance) -> list[ClipPreview]:
    """Previews of some clips, in `clips/` of the run's folder; one that an earlier run made is linked.

    A clip whose file cannot be read any more is left out.
    """
    folder = summary.folder / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    chosen = {clip.clip_key: clip for clip in some_of_each(rows, MOST_CLIPS)}
    for key in chosen:
        _link_earlier(key, folder)
    missing = {key: clip for key, clip in chosen.items() if not _files(folder, key)[0].exists()}
    jobs = [
        FileJob(key, clip_files(clip), write_preview, (clip, *_files(folder, key))) for key, clip in missing.items()
    ]
    failed = set()
    made = read_files(jobs, summary.results[0].run, "making previews")
    for done, (key, result) in enumerate(made, start=len(chosen) - len(missing) + 1):
        advance(done, len(chosen), "clips drawn")
        if isinstance(result, MediaError):
            failed.add(key)
    return [_preview(clip, folder) for key, clip in chosen.items() if key not in failed]


def some_of_each(rows: Sequence[Clip], most: int) -> list[Clip]:
    """At most `most` clips, in turn of each dataset's trained and held-out ones, in the order of their names."""
    groups: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in sorted(rows, key=lambda clip: clip.clip_id):
        groups[clip.dataset, clip.split].append(clip)
    turns = (clip for turn in zip_longest(*groups.values()) for clip in turn if clip is not None)
    chosen = [clip for clip, _ in zip(turns, range(most), strict=False)]
    return sorted(chosen, key=lambda clip: clip.clip_id)


def _files(folder: Path, key: str) -> tuple[Path, Path]:
    return folder / f"{key}.mp4", folder / f"{key}.jpg"


def _link_earlier(key: str, folder: Path) -> None:
    """Link what an earlier run's report has of this clip."""
    video, poster = _files(folder, key)
    for earlier in find_whole(folder.parent.parent, f"*/clips/{key}.mp4"):
        still = earlier.with_suffix(".jpg")
        if earlier != video and still.exists() and not video.exists():
            poster.unlink(missing_ok=True)
            poster.hardlink_to(still)
            video.hardlink_to(earlier)


def _preview(clip: Clip, folder: Path) -> ClipPreview:
    video, poster = _files(folder, clip.clip_key)
    heard = {"none": "no audio", "broken": "broken audio", "silent": "silent"}.get(clip.audio, "audio")
    badges = [Badge(clip.bucket), Badge(heard, "warn" if clip.audio == "broken" else "plain")]
    if clip.split == "eval":
        badges.append(Badge("held out", "good"))
    return ClipPreview(name=clip.clip_id, caption=clip.caption, video=video, poster=poster, badges=badges)
