"""Perform one stage: decide, then reuse its result or launch its child."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from datasets_spec import Manifest
from ltx_core.files.lock import try_folder_lock
from tasks.decide import decide
from tasks.events import Listener
from tasks.launch import launch
from tasks.stage_run import StageRun
from tasks.summary import Summary, check_quarantine, read_summary


@dataclass(frozen=True)
class StageResult:
    """A stage's run and its counts; `built` says whether this run made the output."""

    run: StageRun
    summary: Summary
    built: bool

    @property
    def manifest(self) -> Manifest[Any]:
        """What the stage made."""
        return self.run.manifest

    @property
    def state_name(self) -> str:
        """`Built` or `Reused`: how Prefect shows it."""
        return "Built" if self.built else "Reused"


def perform(run: StageRun, listener: Listener) -> StageResult:
    """Reuse what is there whole, or build it in a child process.

    Raises:
        LtxError: the stage failed.
    """
    return reuse_or_build(run, lambda decided: launch(decided, listener))


def reuse_or_build(run: StageRun, build: Callable[[StageRun], Summary]) -> StageResult:
    """Reuse what is there whole, or let `build` make it.

    Raises:
        LtxError: the stage failed.
    """
    memo = run.workspace.digest_memo()
    run = replace(run, decision=decide(run, memo))
    memo.save()
    if run.decided.reusable and not run.force:
        with try_folder_lock(run.out, shared=True) as held:
            if held and run.manifest.exists():  # no collection of garbage has deleted it, nor does before it is latest
                summary, limit = read_summary(run.manifest), run.shared.limits.max_quarantined_fraction
                check_quarantine(summary, limit)  # which may be another by now
                os.utime(run.manifest.path)
                run.workspace.set_latest(run.stage.name, run.decided.key)
                return StageResult(run, summary, built=False)
    return StageResult(run, build(run), built=True)
