"""What a run would do, stage by stage, before anything is spent."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from datasets_spec import Manifest
from flows.config import RunConfig
from flows.selection import Selection, inputs_of
from flows.wandb_mirror import require_wandb
from ltx_core.errors import ConfigError, DamagedError
from ltx_core.progress import SILENT, Progress
from tasks import STAGES
from tasks.decide import decide
from tasks.shared import Shared
from tasks.stage import Stage
from tasks.stage_run import StageRun
from tasks.weights import check_weights_here, pending_weights, prepare_weights
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
    notices: tuple[str, ...] = ()
    """What its configuration allows and likely does not mean."""
    memory: tuple[str, ...] = ()
    """What it will take of the GPU, and how it keeps within."""


def check_here(config: RunConfig, selection: Selection) -> None:
    """See that all that must lie on this machine does, before the hub or any server is asked for anything.

    Raises:
        LtxError: a file, a folder or a library is missing, or is not what it should be.
    """
    if config.tracking.wandb:
        require_wandb()
    selection = selection.wanted(config)
    if selection.needs_weights:
        check_weights_here(config.model)
    shared = config.shared()
    for stage in selection.stages:
        stage.check(config.stage_config(stage.name), shared)


def downloads(config: RunConfig, selection: Selection) -> "tuple[PendingFile, ...]":
    """What a run would download first: weights, and what its stages need beside them.

    Raises:
        LtxError: a location leads nowhere, or the hub cannot be asked for what is not here.
    """
    check_here(config, selection)
    selection = selection.wanted(config)
    weights = pending_weights(config.model) if selection.needs_weights else ()
    shared = config.shared()
    others = (file for stage in selection.stages for file in stage.pending(config.stage_config(stage.name), shared))
    return (*weights, *dict.fromkeys(others))


def prepare(
    config: RunConfig, selection: Selection, progress: Progress = SILENT
) -> tuple[Shared, dict[str, BaseModel]]:
    """See that what must lie here does, download what is missing, and see that everything belongs together, before
    anything is computed.

    Returns:
        The shared sections and each selected stage's own, naming what was found so that no one asks the network again.

    Raises:
        LtxError: something is missing, does not fit, or cannot be downloaded.
    """
    check_here(config, selection)
    shared = config.shared()
    if selection.needs_weights:
        shared = shared.model_copy(update={"model": prepare_weights(shared.model, progress)})
    sections = {s.name: s.prepare(config.stage_config(s.name), shared, progress) for s in selection.stages}
    return shared, sections


def plan(config: RunConfig, selection: Selection, pending: "Sequence[PendingFile]" = ()) -> Iterator[PlannedStage]:
    """Decide each stage in order; a stage after one that will run waits for its result, and one that needs weights
    for those that are `pending`. Nothing is downloaded.

    Raises:
        LtxError: footage or weights are missing or do not fit, or a stage cannot work as configured.
        OutOfMemory: a stage cannot fit the GPU.
    """
    selection = selection.wanted(config)
    shared, sections = (config.shared(), {}) if pending else prepare(config, selection)
    done: dict[str, Manifest[Any]] = {}
    for planned in _decided(config, selection, shared, sections, done):
        stage, section = planned.stage, config.stage_config(planned.stage.name)
        readable = planned.will_run and (bool(sections) or not stage.needs_weights)
        memory = stage.memory(section, shared, done, config.place()) if readable else ()
        yield replace(planned, notices=tuple(stage.notices(section, shared)), memory=tuple(memory))


def _decided(
    config: RunConfig,
    selection: Selection,
    shared: Shared,
    sections: Mapping[str, BaseModel],
    done: dict[str, Manifest[Any]],
) -> Iterator[PlannedStage]:
    """`sections`: none while a download is pending. `done` takes what need not run."""
    workspace = config.place()
    memo = workspace.digest_memo()
    for stage in STAGES:
        if not selection.covers(stage):
            if manifest := latest_manifest(stage, workspace):
                done[stage.name] = manifest
            continue
        needs = inputs_of(stage, config)
        if waits := [name for name in needs if name not in done]:
            yield PlannedStage(stage, None, True, f"after {', '.join(waits)}")
            continue
        if not sections and stage.needs_weights:
            yield PlannedStage(stage, None, True, "after the download")
            continue
        run = StageRun(
            stage=stage,
            config=sections.get(stage.name, config.stage_config(stage.name)),
            shared=shared,
            inputs={name: done[name] for name in needs},
            workspace=workspace,
        )
        decision = decide(run, memo)
        memo.save()
        forced = stage.name in selection.forced
        if decision.reusable and not forced:
            done[stage.name] = stage.manifest(workspace.stage(stage.name, decision.key))
        why = "forced" if forced else decision.why
        yield PlannedStage(stage, decision.key, forced or not decision.reusable, why)


def latest_manifest(stage: Stage, workspace: Workspace) -> Manifest[Any] | None:
    """What the stage last made, if it is still there."""
    try:
        key = workspace.latest(stage.name)
    except DamagedError:  # written anew by the next run that finds the result good
        return None
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
