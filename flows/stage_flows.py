"""A flow for each stage, so that a stage reruns alone: `prefect deployment run stage-train_lora`. Made from STAGES.

A flow is made when it is asked for: Prefect works out the form of the whole configuration for each, and loads this
module anew for each deployment.
"""

from functools import cache
from typing import Any

from prefect import Flow, flow

from flows.deployments import flow_attribute
from flows.in_flow import explained, run_in_flow
from flows.parameters import Config, resolve
from flows.selection import select
from tasks import STAGES
from tasks.stage import Stage


def _stage_flow(stage: Stage) -> Flow[Any, Any]:
    def run(config: Config = None, overrides: dict[str, Any] | None = None, force: bool = False) -> Any:
        """Run one stage on what the earlier stages last made.

        Args:
            config: Path of a configuration file, or the configuration itself. Default: the project's `ltx2-lora.yaml`.
            overrides: Dotted options that replace those of the configuration.
            force: Make the stage anew, whatever is there.
        """

        def work() -> str:
            (result,) = run_in_flow(resolve(config, overrides or {}), select(stage.name, None, force))
            return result.state_name

        return explained(work)

    run.__name__ = run.__qualname__ = flow_attribute(stage)
    return flow(name=f"stage-{stage.name}", description=stage.summary, log_prints=False)(run)


@cache
def __getattr__(name: str) -> Flow[Any, Any]:
    """The flow of that name, such as `stage_split`."""
    for stage in STAGES:
        if flow_attribute(stage) == name:
            return _stage_flow(stage)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
