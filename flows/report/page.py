"""The page of a run, `runs/RUN/index.html`, with everything that a person wants to see of it; and its record."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from flows.config import RunConfig
from flows.report.dataset import Advance, dataset_section
from flows.report.record import PAGE, RECORD, EarlierRun, changes, flat_settings, record_before
from flows.report.summary import QUARANTINE_HEADERS, STAGE_HEADERS, FinishedRun, quarantine_rows, stage_rows
from ltx_core.io.json_file import write_json
from ltx_core.io.table_file import read_table
from ltx_core.report.curve import Series, curve
from ltx_core.report.page import Cell, Link, Section, folded, link_to, readable, renders, run_report, table
from tasks.stages.parts.low_precision import lines_in
from tasks.stages.render.results import prompt_rows
from tasks.stages.samples.kept import samples_over_steps

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
        dataset_section(config, summary, page, advance),
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
