"""The selection of the stages that a run covers."""

from dataclasses import dataclass, replace
from typing import Any

from flows.config import RunConfig
from ltx_core.errors import ConfigError
from tasks import STAGES, stage_named
from tasks.runtime.stage import Stage


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
        reasons = {stage.name: reason_off(stage, config) for stage in self.stages}
        kept = tuple(stage for stage in self.stages if reasons[stage.name] is None)
        if not kept:
            raise ConfigError(f"nothing to run: stage {', '.join(f'{n} is off, {r}' for n, r in reasons.items())}")
        return replace(self, stages=kept)

    @property
    def needs_weights(self) -> bool:
        """True if any covered stage reads the model."""
        return any(stage.needs_weights for stage in self.stages)


def reason_off(stage: Stage[Any, Any], config: RunConfig) -> str | None:
    """Why the configuration leaves a stage out; None if it does not."""
    return stage.off_reason(config.stage_config)


def inputs_of(stage: Stage[Any, Any], config: RunConfig) -> tuple[str, ...]:
    """Names of the stages whose results a stage reads as configured."""
    return stage.read_of([name for name in stage.uses if reason_off(stage_named(name), config) is None])


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
