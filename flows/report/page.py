"""The page of a run, `runs/RUN/index.html`, with everything that a person wants to see of it; and its record."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from markupsafe import Markup

from datasets_spec import Clip
from flows.config import RunConfig
from flows.report.record import PAGE, RECORD, EarlierRun, changes, flat_settings, record_before
from flows.report.summary import QUARANTINE_HEADERS, STAGE_HEADERS, FinishedRun, quarantine_rows, stage_rows
from ltx_core.io.atomic import find_whole
from ltx_core.io.json_file import write_json
from ltx_core.io.table_file import read_table
from ltx_core.media.clip import clip_files, clip_seconds
from ltx_core.media.errors import MediaError
from ltx_core.media.mp4 import write_preview
from ltx_core.report.page import (
    Badge,
    Cell,
    ClipPreview,
    Link,
    Section,
    Series,
    clips,
    curve,
    folded,
    link_to,
    readable,
    renders,
    run_report,
    table,
)
from tasks.stages.parts.file_reading import FileJob, read_files
from tasks.stages.parts.low_precision import lines_in
from tasks.stages.render.results import prompt_rows
from tasks.stages.samples.kept import samples_over_steps

Advance = Callable[[int, int, str], None]
"""Hears how many of how many are done, and what they are."""
MOST_CLIPS = 24
"""Clips that a report plays; making their previews decodes them."""
DATASET_HEADERS = ("dataset", "folder", "files", "clips", "held out", "seconds", "with audio")
BUCKET_HEADERS = ("bucket", "clips", "held out", "seconds")
MOST_POINTS = 200
"""Points of a curve; more are averaged."""
TRAINING_CURVES = ("loss/video", "loss/audio")
EVAL_CURVES = ("eval/loss", "eval/loss_video", "eval/loss_audio")


def write_report(
    config: RunConfig, summary: FinishedRun, settings: Mapping[str, Any], links: Mapping[str, str], advance: Advance
) -> Path:
    """Write the record and the page, with the videos that it plays beside it.

    Args:
        config: of the run.
        summary: what it came to.
        settings: the configuration, without secrets.
        links: addresses by name, such as the run in MLflow.
        advance: hears how many clips are drawn, of how many.

    Returns:
        The page.

    Raises:
        StorageError: the disk is full or read-only.
    """
    now, page = flat_settings(settings), summary.folder / PAGE
    before = record_before(config.place(), summary.name)
    facts: dict[str, Cell] = dict(summary.facts())
    if summary.lora is not None and summary.lora.is_file():
        facts["LoRA"] = link_to(str(facts["LoRA"]), summary.lora, page)
    if summary.quarantined:
        facts["quarantined"] = Link(f"{len(summary.quarantined)}, see what to do", "#quarantine")
    facts |= {name: Link(address, address) for name, address in links.items()}
    found = [
        _renders(summary, page),
        _samples(summary, page),
        _losses(summary),
        _changed(before, now, summary),
        _dataset(config, summary, page, advance),
        Section(
            "Quarantine",
            table(QUARANTINE_HEADERS, quarantine_rows(summary), empty="Nothing was quarantined."),
            "Files and clips that were not used, and what to do about each.",
        ),
        Section("Stages", table(STAGE_HEADERS, stage_rows(summary)), "A reused stage cost nothing in this run."),
        _low_precision(summary),
        Section("Settings", _settings(now)),
    ]
    run_report(page, f"Run {summary.name}", facts, [section for section in found if section is not None])
    return page


def write_record(
    summary: FinishedRun, settings: Mapping[str, Any], mlflow_run_id: str, shown: Mapping[str, Any]
) -> None:
    """Write `run.json`: keys of stages, settings and figures, by which `gc` and later runs know this one.

    Raises:
        StorageError: the disk is full or read-only.
    """
    record = {
        "stages": {result.run.stage.name: result.run.decided.key for result in summary.results},
        "mlflow_run_id": mlflow_run_id,
        "settings": flat_settings(settings),
        "figures": summary.figures,
        **shown,
    }
    write_json(summary.folder / RECORD, record, indent=2)


def _renders(summary: FinishedRun, page: Path) -> Section | None:
    result = summary.result("render_validation")
    if result is None:
        return None
    rows = prompt_rows(list(result.manifest), result.run, page.parent / "renders")
    return Section("Renders", renders(rows, page), "The base model beside the LoRA, with equal seeds.")


def _samples(summary: FinishedRun, page: Path) -> Section | None:
    """Samples that training made, whether in this run or in the one whose LoRA is used here."""
    manifest = summary.manifest("train_lora")
    if manifest is None:
        return None
    training = manifest.path.parent
    losses = {int(step): value for step, value in _metrics(training).get("eval/loss", ())}
    return next(iter(samples_over_steps(page, training, page.parent / "samples", losses)), None)


def _metrics(training: Path) -> dict[str, list[tuple[float, float]]]:
    """(step, value) points of each metric of a training, by name."""
    columns = read_table(training / "metrics.parquet", ("step", "name", "value")).to_pydict()
    points: dict[str, list[tuple[float, float]]] = {}
    for step, name, value in zip(columns["step"], columns["name"], columns["value"], strict=True):
        points.setdefault(name, []).append((step, value))
    return points


def _losses(summary: FinishedRun) -> Section | None:
    result = summary.result("train_lora")
    if result is None:
        return None
    points = _metrics(result.run.out)
    charts = []
    for names, label in ((EVAL_CURVES, "eval loss"), (TRAINING_CURVES, "training loss")):
        series = [Series(name, thinned(points[name])) for name in names if name in points]
        if series:
            charts.append(curve(series, x_label="step", y_label=label))
    if not charts:
        return None
    return Section(
        "Loss",
        Markup('<div class="columns">{}</div>').format(Markup("\n").join(charts)),
        "Eval loss is measured on held-out clips with fixed noise, so its fall is learning; step 0 is the base model.",
    )


def thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `MOST_POINTS` points: means of neighbours, at their last step."""
    size = -(-len(points) // MOST_POINTS) or 1
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def _changed(before: EarlierRun | None, now: Mapping[str, Any], summary: FinishedRun) -> Section:
    title = "What changed"
    if before is None:
        return Section(title, table((), (), empty="This is the first run of this workspace."))
    options = [[one.option, _shown(one.before), _shown(one.now)] for one in changes(before.settings, now)]
    figures = summary.figures
    compared: list[list[Cell]] = [
        [name, before.figures.get(name), figures.get(name)] for name in figures if not name.endswith("_seconds")
    ]
    parts = [
        table(("option", "before", "now"), options, empty="No option differs."),
        table(("figure", "before", "now"), compared),
    ]
    return Section(title, Markup("\n<br>\n").join(parts), f"Since the run {before.name}.")


def _low_precision(summary: FinishedRun) -> Section | None:
    held = [[line] for result in summary.results for line in lines_in(result.run.out)]
    return Section("The base in 8 bits", table(("compared with full precision",), held)) if held else None


def _settings(now: Mapping[str, Any]) -> Markup:
    """Every option, a folded table for each section of the configuration."""
    sections: dict[str, list[list[Cell]]] = {}
    for name, value in now.items():
        sections.setdefault(name.partition(".")[0], []).append([name, _shown(value)])
    return Markup("\n").join(folded(name, table(("option", "value"), rows)) for name, rows in sections.items())


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "—"
    return readable(value) if value is None or isinstance(value, bool) else str(value)


def _dataset(config: RunConfig, summary: FinishedRun, page: Path, advance: Advance) -> Section | None:
    """Datasets, buckets and clips; None for a run that reads no clips."""
    rows = summary.clips
    if rows is None:
        return None
    shown = _previews(rows, summary, advance)
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
        with_audio = sum(clip.is_heard for clip in own)
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


def _previews(rows: Sequence[Clip], summary: FinishedRun, advance: Advance) -> list[ClipPreview]:
    """Previews of some clips, in `clips/` of the run's folder; one that an earlier run made is linked.

    A clip whose file cannot be read any more is left out.
    """
    folder = summary.folder / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    chosen = {clip.clip_key: clip for clip in _some_of_each(rows, MOST_CLIPS)}
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


def _some_of_each(rows: Sequence[Clip], most: int) -> list[Clip]:
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
