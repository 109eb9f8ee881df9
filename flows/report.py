"""The page a run leaves in `runs/<run>/`: what each stage did, what was set aside, where everything is."""

from pathlib import Path

from flows.config import RunConfig
from ltx_core.files.json_file import write_json
from ltx_core.gallery.cells import Badge, Cell, Section, table
from ltx_core.gallery.page import run_report
from tasks.execute import read_quarantine
from tasks.low_precision import lines_in
from tasks.perform import StageResult
from tasks.tracking import TrackedRun

STAGE_HEADERS = ("stage", "result", "in", "out", "quarantined", "computed", "reused", "unit", "seconds", "key")
QUARANTINE_HEADERS = ("stage", "item", "reason", "detail")


def write_report(config: RunConfig, name: str, results: list[StageResult], run: TrackedRun) -> Path:
    """Write `run.json` (stage to key) and `report.html`; give the page's path."""
    folder = config.place().runs / name
    keys = {result.run.stage.name: result.run.decided.key for result in results}
    write_json(folder / "run.json", {"stages": keys, "mlflow_run_id": run.run_id}, indent=2)
    facts: dict[str, Cell] = {"run": name, "workspace": str(config.workspace), "MLflow run": run.run_id}
    sections = [
        Section("Stages", table(STAGE_HEADERS, stage_rows(results))),
        Section("Quarantine", table(QUARANTINE_HEADERS, quarantine_rows(results), empty="Nothing was set aside.")),
    ]
    if held := [[line] for result in results for line in lines_in(result.run.out)]:
        sections.append(Section("The base in 8 bits", table(("compared with full precision",), held)))
    page = folder / "report.html"
    run_report(page, f"ltx2-lora: {name}", facts, sections)
    return page


def stage_rows(results: list[StageResult]) -> list[list[Cell]]:
    """One row a stage: what it did, with its counts."""
    rows: list[list[Cell]] = []
    for result in results:
        s = result.summary
        badge = Badge(result.state_name, "good" if result.built else "plain")
        computed, reused = (s.computed, s.reused) if result.built else (0, s.num_out)
        rows.append(
            [s.stage, badge, s.num_in, s.num_out, s.num_quarantined, computed, reused, s.unit, s.seconds, s.key]
        )
    return rows


def quarantine_rows(results: list[StageResult]) -> list[list[Cell]]:
    """One row for each item that was set aside, by any stage."""
    return [
        [result.summary.stage, item.item, item.reason.value, item.detail]
        for result in results
        for item in read_quarantine(result.manifest)
    ]
