"""Finds a stage by name."""

from ltx_core.errors import ConfigError
from tasks import STAGES
from tasks.stage import Stage


def stage_named(name: str) -> Stage:
    """The stage of that name.

    Raises:
        ConfigError: there is none.
    """
    for stage in STAGES:
        if stage.name == name:
            return stage
    raise ConfigError(f"there is no stage {name!r}; the stages are {', '.join(s.name for s in STAGES)}")
