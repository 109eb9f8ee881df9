"""Register the LoRA as a version in the model registry, and decide whether it is the new champion."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from datasets_spec import Checkpoint, Registered, Render
from datasets_spec.options import ConfigModel
from ltx_core.errors import DamagedError
from ltx_core.io.atomic import write_bytes
from ltx_core.io.json_file import read_json
from tasks.runtime.stage import Observed, Outcome, Stage, StageRun
from tasks.stages.render.jobs import best_checkpoint, final_checkpoint
from tasks.tracking.experiment import run_route
from tasks.tracking.mlflow import TrackedRun, connect, find_or_start, tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient


RUN_ID_VARIABLE = "LTX2_MLFLOW_RUN_ID"
"""Where the task tells the child which MLflow run is its own."""


Figures = Mapping[str, Any]
"""`eval_loss` and `base_eval_loss` of a version."""


ABOUT = (
    "LoRAs for LTX-2. `champion` is the version with the lowest eval loss so far, if that is lower than the base "
    "model's; `candidate` is the newest of the others."
)
DESCRIPTION_LIMIT = 5000
"""Characters that the registry's database takes."""


class RegisterConfig(ConfigModel):
    """The model registry."""

    model_name: str = Field(
        default="ltx2-lora", min_length=1, description="Name of the registered model that gets the versions."
    )
    promote: Literal["if_better", "always", "never"] = Field(
        default="if_better",
        description="When a version becomes the `champion`. `if_better`: if its eval loss is lower than that of the "
        "base model and of the current champion.",
    )


class Register(Stage[RegisterConfig, Registered]):
    """Logs the LoRA with its card and makes a version of it; the same LoRA is registered once."""

    name = "register"
    config = RegisterConfig
    needs = ("train_lora", "render_validation")
    makes = Registered
    version = 2
    imports = ("mlflow",)
    artifacts = ("model-card.md",)

    def observe(self, run: StageRun[RegisterConfig]) -> Observed:
        """The registry's address."""
        tracking = run.shared.tracking
        return {"uri": None if tracking.uri is None else str(tracking.uri), "experiment": tracking.experiment}

    def run(self, run: StageRun[RegisterConfig]) -> Outcome:
        """The version.

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
            champion = _champion_figures(tracked.client, checkpoint, run)
            alias, version = _make_version(tracked, checkpoint, run, champion)
        row = Registered(
            sha256=checkpoint.sha256,
            model_name=run.config.model_name,
            version=version,
            alias=alias,
            run_id=tracked.run_id,
        )
        run.progress.note(f"{row.model_name} version {version} is {alias}")
        figures = {"champion_eval_loss": champion["eval_loss"]} if champion else {}
        return Outcome(rows=[row], num_in=1, num_out=1, computed=1, unit="models", figures=figures)


def _own_run(run: StageRun[RegisterConfig]) -> TrackedRun:
    tracking = run.shared.tracking
    run_id = os.environ.get(RUN_ID_VARIABLE)
    client, experiment = connect(tracking, run.workspace)
    if run_id is None:
        return find_or_start(client, experiment, key=f"register/{run.out.name}", name="register")
    return TrackedRun(client, experiment, run_id)


def _make_version(
    tracked: TrackedRun, checkpoint: Checkpoint, run: StageRun[RegisterConfig], champion: Figures | None
) -> tuple[str, int]:
    client, name = tracked.client, run.config.model_name
    alias = "champion" if _promoted(champion, checkpoint, run) else "candidate"
    about = description(checkpoint, run, champion, tracked)
    same = client.search_model_versions(f"name = '{name}' and tags.`ltx2.sha256` = '{checkpoint.sha256}'")
    if same:
        version = int(same[0].version)
        client.update_model_version(name, same[0].version, about)
    else:
        tags = {"ltx2.sha256": checkpoint.sha256, "ltx2.figures": json.dumps(_figures(checkpoint))}
        made = client.create_model_version(
            name, source=f"runs:/{tracked.run_id}/lora", run_id=tracked.run_id, tags=tags, description=about
        )
        version = int(made.version)
    client.set_registered_model_alias(name, alias, str(version))
    return alias, version


def description(
    checkpoint: Checkpoint, run: StageRun[RegisterConfig], champion: Figures | None, tracked: TrackedRun
) -> str:
    """Markdown of a version: losses, scores of the renders, and where the gallery is."""
    losses = [("this LoRA", checkpoint.eval_loss), ("base model", checkpoint.base_eval_loss)]
    if champion is not None:
        losses.append(("champion until then", champion["eval_loss"]))
    renders = run.inputs["render_validation"]
    lines = [
        f"{checkpoint.step} steps. {_gallery(renders.path.parent, tracked)}",
        "",
        "| eval loss | |",
        "|---|---|",
        *(f"| {name} | {_number(value)} |" for name, value in losses),
        "",
        *_render_rows([row for row in renders if row.variant == "candidate"]),
    ]
    text = "\n".join(lines)
    return text if len(text) <= DESCRIPTION_LIMIT else text[:DESCRIPTION_LIMIT].rpartition("\n")[0]


def _gallery(folder: Path, tracked: TrackedRun) -> str:
    """A link to the gallery in MLflow, where it is known which run has it; else its place on the disk."""
    try:
        run_id = read_json(folder / "mlflow.json")["run_id"]
    except (FileNotFoundError, DamagedError):
        return f"Gallery: `{folder / 'gallery.html'}`"
    return f"[Gallery]({run_route(tracked.experiment, run_id, 'gallery.html')})"


def _figures(checkpoint: Checkpoint) -> Figures:
    return {"eval_loss": checkpoint.eval_loss, "base_eval_loss": checkpoint.base_eval_loss}


def _champion_figures(client: "MlflowClient", checkpoint: Checkpoint, run: StageRun[RegisterConfig]) -> Figures | None:
    """Figures of the champion that there is; None if there is none, or it is this LoRA.

    Eval losses of versions compare only on equal held-out clips; an unlike champion is not compared with.
    """
    from mlflow.exceptions import MlflowException

    name = run.config.model_name
    try:
        client.create_registered_model(name, description=ABOUT)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    champion = client.get_registered_model(name).aliases.get("champion")
    if champion is None:
        return None
    version = client.get_model_version(name, champion)
    figures: dict[str, float | None] = json.loads(version.tags.get("ltx2.figures", "{}"))
    if version.tags.get("ltx2.sha256") == checkpoint.sha256 or figures.get("eval_loss") is None:
        return None
    return figures if figures.get("base_eval_loss") == checkpoint.base_eval_loss else None


def _promoted(champion: Figures | None, checkpoint: Checkpoint, run: StageRun[RegisterConfig]) -> bool:
    if run.config.promote != "if_better":
        return bool(run.config.promote == "always")
    if checkpoint.eval_loss is None or checkpoint.base_eval_loss is None:
        return False
    others = [checkpoint.base_eval_loss, *([champion["eval_loss"]] if champion else [])]
    return bool(checkpoint.eval_loss < min(others))


def model_card(checkpoint: Checkpoint, run: StageRun[RegisterConfig]) -> str:
    """Markdown; from the manifests alone, so that the same LoRA has the same card."""
    lines = [
        f"# {run.config.model_name}",
        "",
        f"LoRA for LTX-2, {checkpoint.step} steps. SHA-256 begins `{checkpoint.sha256}`.",
        "",
        "| figure | value |",
        "|---|---|",
        f"| eval loss | {_number(checkpoint.eval_loss)} |",
        f"| eval loss of the base model | {_number(checkpoint.base_eval_loss)} |",
        f"| best kept checkpoint | {_best(run)} |",
        f"| training stage | `{run.inputs['train_lora'].path.parent.name}` |",
        f"| renders stage | `{run.inputs['render_validation'].path.parent.name}` |",
        "",
        *_render_rows([row for row in run.inputs["render_validation"] if row.variant == "candidate"]),
    ]
    return "\n".join(lines) + "\n"


def _render_rows(renders: Sequence[Render]) -> list[str]:
    """A Markdown table of the figures of renders."""
    return [
        "| prompt | adapters | seed | sharpness | motion | loudness | difference from base | CLIP score |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {r.prompt.replace('|', '/')} | {r.adapters or 'none'} | {r.seed} | {r.sharpness:.4f} | {r.motion:.4f} "
            f"| {r.loudness_db:.1f} dB | {r.difference_from_base:.4f} "
            f"| {'none' if r.clip_score is None else f'{r.clip_score:.2f}'} |"
            for r in renders
        ),
    ]


def _best(run: StageRun[RegisterConfig]) -> str:
    """Return the kept checkpoint with the lowest eval loss; another one may be registered."""
    best = best_checkpoint(run.inputs["train_lora"])
    return f"`{best.name}`, eval loss {_number(best.eval_loss)}"


def _number(value: float | None) -> str:
    return "none (no eval split)" if value is None else f"{value:.6f}"
