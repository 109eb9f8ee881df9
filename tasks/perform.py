"""Perform one stage: decide, then reuse its result or launch its child."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ltx_core.files.lock import try_folder_lock
from tasks.decide import decide
from tasks.events import Listener
from tasks.execute import Execution
from tasks.launch import launch
from tasks.registry import stage_named
from tasks.results import StageResult
from tasks.shared import Shared
from tasks.stage import Inputs
from tasks.summary import Summary, check_quarantine, read_summary
from tasks.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class StageCall:
    """One stage of one run."""

    stage: str
    config: Any
    shared: Shared
    inputs: Inputs
    workspace: Workspace
    force: bool = False


def perform(call: StageCall, listener: Listener) -> StageResult:
    """Reuse what is there whole, or build it in a child process.

    Raises:
        LtxError: the stage failed.
    """
    return reuse_or_build(call, lambda execution: launch(execution, listener))


def reuse_or_build(call: StageCall, build: Callable[[Execution], Summary]) -> StageResult:
    """Reuse what is there whole, or let `build` make it.

    Raises:
        LtxError: the stage failed.
    """
    stage = stage_named(call.stage)
    memo = call.workspace.digest_memo()
    decision = decide(stage, call.config, call.shared, call.inputs, workspace=call.workspace, memo=memo)
    memo.save()
    manifest = stage.manifest(decision.folder)
    if decision.reusable and not call.force:
        with try_folder_lock(decision.folder, shared=True) as held:
            if held and manifest.exists():  # no collection of garbage has deleted it, nor does before it is latest
                summary, limit = read_summary(manifest), call.shared.limits.max_quarantined_fraction
                check_quarantine(summary, limit)  # which may be another by now
                os.utime(manifest.path)
                call.workspace.set_latest(stage.name, decision.key)
                return StageResult(decision, manifest, summary, built=False)
    execution = Execution(
        decision=decision,
        config=call.config,
        shared=call.shared,
        inputs=call.inputs,
        workspace=call.workspace,
        force=call.force,
    )
    return StageResult(decision, manifest, build(execution), built=True)
