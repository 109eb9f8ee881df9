"""Put the LoRA in the model registry as a version, with the figures that say whether it is the new champion."""

import json
import os
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from datasets_spec import Checkpoint, Registered
from ltx_core.files.atomic import write_bytes
from ltx_core.files.digest import DigestMemo
from tasks.checkpoints import best_checkpoint, final_checkpoint
from tasks.model_card import model_card
from tasks.shared import ConfigModel, Shared
from tasks.stage import Observed, Outcome, Stage
from tasks.stage_run import StageRun
from tasks.tracking import TrackedRun, connect, find_or_start, tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN_ID_VARIABLE = "LTX2_MLFLOW_RUN_ID"
"""Where the task tells the child which MLflow run is its own."""


class RegisterConfig(ConfigModel):
    """The model registry."""

    model_name: str = Field(default="ltx2-lora", min_length=1, description="Registered model that versions belong to.")
    promote: Literal["if_better", "always", "never"] = Field(
        default="if_better",
        description="When a version becomes `champion`: if its eval loss is under the base model's and the champion's.",
    )


def register(run: StageRun) -> Outcome:
    """Log the LoRA with its card and make a version of it; the same LoRA is registered once.

    Raises:
        TransientError: MLflow does not answer; the LoRA is finished and kept.
        StorageError: the disk of MLflow's database is full.
    """
    checkpoint = final_checkpoint(run.inputs["train_lora"])
    card = model_card(checkpoint, run)
    write_bytes(run.out / "model-card.md", card.encode())
    with tracking_errors(run.shared.tracking, run.workspace):
        tracked = _own_run(run)
        tracked.artifacts([run.workspace.root / checkpoint.file, run.out / "model-card.md"], "lora")
        best = best_checkpoint(run.inputs["train_lora"])
        if best.sha256 != checkpoint.sha256:
            tracked.artifacts([run.workspace.root / best.file], f"lora/best-{best.name}")
        alias, version = _make_version(tracked, checkpoint, run)
    row = Registered(
        sha256=checkpoint.sha256,
        model_name=run.config.model_name,
        version=version,
        alias=alias,
        run_id=tracked.run_id,
    )
    run.progress.note(f"{row.model_name} version {version} is {alias}")
    return Outcome(rows=[row], num_in=1, num_out=1, computed=1, reused=0, unit="models")


def _own_run(run: StageRun) -> TrackedRun:
    tracking = run.shared.tracking
    run_id = os.environ.get(RUN_ID_VARIABLE)
    client, experiment = connect(tracking, run.workspace)
    if run_id is None:
        return find_or_start(client, experiment, key=f"register/{run.out.name}", name="register")
    return TrackedRun(client, experiment, run_id)


def _make_version(tracked: TrackedRun, checkpoint: Checkpoint, run: StageRun) -> tuple[str, int]:
    from mlflow.exceptions import MlflowException

    client, name = tracked.client, run.config.model_name
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    alias = "champion" if _promoted(client, checkpoint, run) else "candidate"
    same = client.search_model_versions(f"name = '{name}' and tags.`ltx2.sha256` = '{checkpoint.sha256}'")
    if same:
        version = int(same[0].version)
    else:
        tags = {"ltx2.sha256": checkpoint.sha256, "ltx2.figures": json.dumps(_figures(checkpoint))}
        made = client.create_model_version(
            name, source=f"runs:/{tracked.run_id}/lora", run_id=tracked.run_id, tags=tags
        )
        version = int(made.version)
    client.set_registered_model_alias(name, alias, str(version))
    return alias, version


def _figures(checkpoint: Checkpoint) -> dict[str, float | None]:
    return {"eval_loss": checkpoint.eval_loss, "base_eval_loss": checkpoint.base_eval_loss}


def _promoted(client: "MlflowClient", checkpoint: Checkpoint, run: StageRun) -> bool:
    """Eval losses of versions compare only on equal held-out clips; an unlike champion is not compared with."""
    if run.config.promote != "if_better":
        return bool(run.config.promote == "always")
    if checkpoint.eval_loss is None or checkpoint.base_eval_loss is None:
        return False
    best = [checkpoint.base_eval_loss]
    model = client.get_registered_model(run.config.model_name)
    if champion := model.aliases.get("champion"):
        version = client.get_model_version(model.name, champion)
        figures = json.loads(version.tags.get("ltx2.figures", "{}"))
        if (
            figures.get("base_eval_loss") == checkpoint.base_eval_loss
            and version.tags["ltx2.sha256"] != checkpoint.sha256
        ):
            best.append(figures["eval_loss"])
    return checkpoint.eval_loss < min(best)


def observe(_config: RegisterConfig, shared: Shared, _memo: DigestMemo) -> Observed:
    """Which registry."""
    uri = shared.tracking.uri
    return {"uri": None if uri is None else str(uri), "experiment": shared.tracking.experiment}


STAGE = Stage(
    name="register",
    summary=__doc__,
    version=2,
    config=RegisterConfig,
    needs=("train_lora", "render_validation"),
    makes=Registered,
    run=register,
    observe=observe,
    artifacts=("model-card.md",),
)
