"""Run the selected stages in order. Knows nothing of Prefect: `perform` is what runs one stage."""

from collections.abc import Callable
from typing import Any

from datasets_spec import Manifest
from flows.config import RunConfig
from flows.plan import prepare, required_manifest
from flows.selection import Selection, inputs_of
from ltx_core.progress import SILENT, Progress
from tasks import STAGES
from tasks.perform import StageResult
from tasks.stage_run import StageRun

Perform = Callable[[StageRun], StageResult]


def run_stages(
    config: RunConfig, selection: Selection, perform: Perform, downloading: Progress = SILENT
) -> list[StageResult]:
    """Download what is missing, then perform each selected stage on what the earlier ones made.

    Raises:
        LtxError: a stage failed; earlier results are kept.
    """
    workspace, selection = config.place(), selection.wanted(config)
    shared, sections = prepare(config, selection, downloading)
    done: dict[str, Manifest[Any]] = {}
    results = []
    for stage in STAGES:
        if not selection.covers(stage):
            if any(stage.name in inputs_of(later, config) for later in selection.stages):
                done[stage.name] = required_manifest(stage, workspace)
            continue
        run = StageRun(
            stage=stage,
            config=sections[stage.name],
            shared=shared,
            inputs={name: done[name] for name in inputs_of(stage, config)},
            workspace=workspace,
            force=stage.name in selection.forced,
        )
        result = perform(run)
        done[stage.name] = result.manifest
        results.append(result)
    return results
