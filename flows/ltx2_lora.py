"""The whole pipeline as a Prefect flow: `prefect deployment run ltx2-lora`."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.in_flow import explained, run_in_flow
from flows.parameters import Config, StageName, resolve
from flows.selection import select


@flow(name="ltx2-lora", log_prints=False)
def ltx2_lora(
    config: Config = None,
    overrides: dict[str, Any] | None = None,
    only: StageName | None = None,
    from_stage: StageName | None = None,
    force: bool = False,
) -> dict[str, str] | State[Any]:
    """Turn footage into a trained, rendered and registered LoRA. Stages whose inputs did not change are reused.

    Args:
        config: Path of a configuration file, or the configuration itself. Default: the project's `ltx2-lora.yaml`.
        overrides: Dotted options that replace those of the configuration, such as {"train_lora.steps": 500}.
        only: Cover this stage alone, on what earlier stages last made.
        from_stage: Cover this stage and all later ones.
        force: Make the covered stages anew, whatever is there.
    """

    def work() -> dict[str, str]:
        results = run_in_flow(resolve(config, overrides or {}), select(only, from_stage, force))
        return {result.summary.stage: result.state_name for result in results}

    return explained(work)
