"""What a run would do, stage by stage, before anything is spent."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datasets_spec import Manifest
from flows.config import RunConfig
from flows.selection import Selection
from ltx_core.errors import ConfigError
from tasks import STAGES
from tasks.decide import decide
from tasks.stage import Stage
from tasks.weights import pending_weights, prepare_weights
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from ltx_core.checkpoint.pending import PendingFile


@dataclass(frozen=True)
class PlannedStage:
    """One line of a plan. The key is unknown where an earlier stage must run first."""

    stage: Stage
    key: str | None
    will_run: bool
    why: str


def downloads(config: RunConfig, selection: Selection) -> "tuple[PendingFile, ...]":
    """The weights that a run would download first.

    Raises:
        LtxError: a location leads nowhere, or the hub cannot be asked for what is not here.
    """
    return pending_weights(config.model) if selection.needs_weights else ()


def plan(config: RunConfig, selection: Selection, pending: "Sequence[PendingFile]" = ()) -> Iterator[PlannedStage]:
    """Decide each stage in order; a stage after one that will run waits for its result, and one that needs weights
    for those that are `pending`. Nothing is downloaded.

    Raises:
        LtxError: footage or weights are missing or do not fit.
    """
    workspace, shared = config.place(), config.shared()
    if selection.needs_weights and not pending:
        shared = shared.model_copy(update={"model": prepare_weights(shared.model)})
    memo = workspace.digest_memo()
    done: dict[str, Manifest[Any]] = {}
    for stage in STAGES:
        if not selection.covers(stage):
            if manifest := latest_manifest(stage, workspace):
                done[stage.name] = manifest
            continue
        if waits := [name for name in stage.needs if name not in done]:
            yield PlannedStage(stage, None, True, f"after {', '.join(waits)}")
            continue
        if pending and stage.needs_weights:
            yield PlannedStage(stage, None, True, "after the download")
            continue
        inputs = {name: done[name] for name in stage.needs}
        decision = decide(stage, config.stage_config(stage.name), shared, inputs, workspace=workspace, memo=memo)
        forced = stage.name in selection.forced
        if decision.reusable and not forced:
            done[stage.name] = stage.manifest(decision.folder)
        why = "forced" if forced else decision.why
        yield PlannedStage(stage, decision.key, forced or not decision.reusable, why)


def latest_manifest(stage: Stage, workspace: Workspace) -> Manifest[Any] | None:
    """What the stage last made, if it is still there."""
    key = workspace.latest(stage.name)
    manifest = stage.manifest(workspace.stage(stage.name, key)) if key else None
    return manifest if manifest and manifest.exists() else None


def required_manifest(stage: Stage, workspace: Workspace) -> Manifest[Any]:
    """What the stage last made.

    Raises:
        ConfigError: it never finished in this workspace.
    """
    manifest = latest_manifest(stage, workspace)
    if manifest is None:
        raise ConfigError(
            f"stage {stage.name} has no result in {workspace.root}; run without --only and --from first, or "
            f"`--from {stage.name}`"
        )
    return manifest
