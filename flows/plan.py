"""The plan of a run: the stages that it covers, and what each would do, found before anything is computed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from datasets_spec import Manifest
from flows.config import RunConfig
from flows.wandb_mirror import require_wandb
from ltx_core.errors import ConfigError, DamagedError
from ltx_core.progress import SILENT, Progress
from tasks import STAGES, stage_named
from tasks.runtime.decide import decide
from tasks.runtime.shared import Shared
from tasks.runtime.stage import Stage, StageRun
from tasks.runtime.weights import check_weights_here, pending_weights, prepare_weights
from tasks.runtime.workspace import Workspace

if TYPE_CHECKING:
    from ltx_core.hub.repository import PendingFile


@dataclass(frozen=True)
class Selection:
    """Stages to cover, and those of them whose finished results are replaced."""

    stages: tuple[Stage[Any, Any], ...]
    forced: frozenset[str]

    def covers(self, stage: Stage[Any, Any]) -> bool:
        """Return whether the run covers this stage; others are taken as they were last made."""
        return stage in self.stages

    def wanted(self, config: RunConfig) -> "Selection":
        """The same without the stages that do nothing as configured.

        Raises:
            ConfigError: none is left; says why.
        """
        reasons = {stage.name: stage.off_reason(config.stage_config) for stage in self.stages}
        kept = tuple(stage for stage in self.stages if reasons[stage.name] is None)
        if not kept:
            raise ConfigError(f"nothing to run: stage {', '.join(f'{n} is off, {r}' for n, r in reasons.items())}")
        return replace(self, stages=kept)

    @property
    def needs_weights(self) -> bool:
        """True if any covered stage reads the model."""
        return any(stage.needs_weights for stage in self.stages)


def inputs_of(stage: Stage[Any, Any], config: RunConfig) -> tuple[str, ...]:
    """Names of the stages whose results a stage reads as configured."""
    on = [name for name in stage.uses if stage_named(name).off_reason(config.stage_config) is None]
    return stage.read_of(on)


def select(only: str | None, from_stage: str | None, force: bool) -> Selection:
    """`only`: one stage alone. `from_stage`: that stage and all later ones. Neither: all. `force`: make them anew.

    Raises:
        ConfigError: both are given, or a stage does not exist.
    """
    if only and from_stage:
        raise ConfigError(f"both --only {only} and --from {from_stage} are given; give one of them")
    stages = STAGES
    if only:
        stages = (stage_named(only),)
    elif from_stage:
        stages = STAGES[STAGES.index(stage_named(from_stage)) :]
    return Selection(stages, frozenset(stage.name for stage in stages) if force else frozenset())


@dataclass(frozen=True)
class PlannedStage:
    """One line of a plan. The key is unknown where an earlier stage must run first."""

    stage: Stage[Any, Any]
    key: str | None
    will_run: bool
    why: str
    warnings: tuple[str, ...] = ()
    """Settings that its configuration allows and likely does not mean."""
    memory: tuple[str, ...] = ()
    """Lines on the GPU memory that it needs, and how it stays within the limit."""


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
    for stage in selection.stages:
        stage.check(as_configured(stage, config))


def downloads(config: RunConfig, selection: Selection) -> "tuple[PendingFile, ...]":
    """Return what a run would download first: weights, and what its stages need beside them.

    Raises:
        LtxError: a location leads nowhere, or the hub cannot be asked for what is not here.
    """
    check_here(config, selection)
    selection = selection.wanted(config)
    weights = pending_weights(config.model) if selection.needs_weights else ()
    others = (file for stage in selection.stages for file in stage.downloads(as_configured(stage, config)))
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
    runs = (replace(as_configured(s, config), shared=shared, progress=progress) for s in selection.stages)
    return shared, {run.stage.name: run.stage.prepare(run) for run in runs}


def as_configured(stage: Stage[Any, Any], config: RunConfig) -> StageRun[Any]:
    """The run of a stage that nothing is known of but its options: for what it is asked before any is decided."""
    section = config.stage_config(stage.name)
    return StageRun(stage=stage, config=section, shared=config.shared(), inputs={}, workspace=config.place())


def plan(
    config: RunConfig, selection: Selection, pending: "Sequence[PendingFile]" = (), progress: Progress = SILENT
) -> Iterator[PlannedStage]:
    """Decide each stage in order; a stage after one that will run waits for its result, and one that needs weights
    for those that are `pending`. Nothing is downloaded. `progress` gets the pace of reading weights for their digest.

    Raises:
        LtxError: footage or weights are missing or do not fit, or a stage cannot work as configured.
        OutOfMemory: a stage cannot fit the GPU.
    """
    selection = selection.wanted(config)
    shared, sections = (config.shared(), {}) if pending else prepare(config, selection)
    done: dict[str, Manifest[Any]] = {}
    for planned in _decided(config, selection, shared, sections, done, progress):
        stage = planned.stage
        run = replace(as_configured(stage, config), shared=shared, inputs=done)
        readable = planned.will_run and (bool(sections) or not _is_pending(stage, config))
        memory = stage.memory(run) if readable else ()
        yield replace(planned, warnings=tuple(stage.warnings(run)), memory=tuple(memory))


def _decided(
    config: RunConfig,
    selection: Selection,
    shared: Shared,
    sections: Mapping[str, BaseModel],
    done: dict[str, Manifest[Any]],
    progress: Progress,
) -> Iterator[PlannedStage]:
    """`sections`: none while a download is pending. `done` takes what need not run."""
    workspace = config.place()
    for stage in STAGES:
        if not selection.covers(stage):
            if manifest := latest_manifest(stage, workspace):
                done[stage.name] = manifest
            continue
        needs = inputs_of(stage, config)
        if waits := [name for name in needs if name not in done]:
            yield PlannedStage(stage, None, True, f"after {', '.join(waits)}")
            continue
        if not sections and _is_pending(stage, config):
            yield PlannedStage(stage, None, True, "after the download")
            continue
        run = StageRun(
            stage=stage,
            config=sections.get(stage.name, config.stage_config(stage.name)),
            shared=shared,
            inputs={name: done[name] for name in needs},
            workspace=workspace,
            progress=progress,
        )
        decision = decide(run)
        forced = stage.name in selection.forced
        if decision.reusable and not forced:
            done[stage.name] = stage.manifest(workspace.stage(stage.name, decision.key))
        why = "forced" if forced else decision.why
        yield PlannedStage(stage, decision.key, forced or not decision.reusable, why)


def _is_pending(stage: Stage[Any, Any], config: RunConfig) -> bool:
    """Return whether a stage, while something is still to be downloaded, waits for that."""
    return stage.needs_weights or bool(stage.downloads(as_configured(stage, config)))


def latest_manifest(stage: Stage[Any, Any], workspace: Workspace) -> Manifest[Any] | None:
    """Return what the stage last made, if it is still there."""
    try:
        key = workspace.latest(stage.name)
    except DamagedError:  # written anew by the next run that finds the result good
        return None
    manifest = stage.manifest(workspace.stage(stage.name, key)) if key else None
    return manifest if manifest and manifest.exists() else None


def required_manifest(stage: Stage[Any, Any], workspace: Workspace) -> Manifest[Any]:
    """Return what the stage last made.

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
