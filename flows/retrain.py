"""Retrain when footage changed: started by the weekly schedule and by the event `ltx2.footage.added`."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed

from flows.config import RunConfig
from flows.in_flow import explained, run_in_flow
from flows.parameters import Config, resolve
from flows.plan import downloads, plan
from flows.selection import Selection, select


@flow(name="retrain", log_prints=False)
def retrain(config: Config = None, overrides: dict[str, Any] | None = None) -> State[Any]:
    """Do nothing if no byte of footage, caption, weight or setting changed since the last good run; else run what did.

    Args:
        config: Path of a configuration file, or the configuration itself. Default: the project's `ltx2-lora.yaml`.
        overrides: Dotted options that replace those of the configuration.
    """

    def work() -> State[Any]:
        return _run_what_is_due(resolve(config, overrides or {}), select(None, None, force=False))

    return explained(work)


def _run_what_is_due(run_config: RunConfig, everything: Selection) -> State[Any]:
    pending = downloads(run_config, everything)
    due = [stage for stage in plan(run_config, everything, pending) if stage.will_run]
    if not due:
        return Completed(name="Unchanged", message="nothing changed since the last good run; nothing was done")
    get_run_logger().info("%s is due: %s", due[0].stage.name, due[0].why)
    results = run_in_flow(run_config, everything)
    built = [result.summary.stage for result in results if result.built]
    return Completed(name="Retrained", message=f"built {', '.join(built)}")
