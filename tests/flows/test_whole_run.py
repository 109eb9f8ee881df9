"""`prefect deployment run ltx2-lora`, through the worker: what it leaves in Prefect, in MLflow and on disk."""

import base64
import io
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import av
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image

from datasets_spec import Checkpoint, Manifest, Render
from tasks.tracking.experiment import NOTE, SHARED_VIEW, charts_route
from tests.flows.lab import Lab
from tests.flows.toy import COVERED, FOLDER, FOOTAGE, RENDER, TRAIN, Toy

NAMES = [stage.name for stage in COVERED]


@pytest.fixture(scope="module")
def folders(lab: Lab, toy: Toy, finished: UUID) -> dict[str, Path]:
    """Stage to output folder."""
    return toy.made(lab.run(finished).name)


@pytest.fixture(scope="module")
def artifacts(lab: Lab, finished: UUID) -> dict[str, Any]:
    """What the run left in Prefect's UI."""
    return lab.artifacts(finished)


@pytest.fixture(scope="module")
def parent(mlflow: MlflowClient, finished: UUID) -> Run:
    """The MLflow run of the flow run."""
    experiment = mlflow.get_experiment_by_name("ltx2-lora")
    assert experiment is not None
    (run,) = mlflow.search_runs([experiment.experiment_id], f"tags.`ltx2.key` = '{finished}'")
    return run


@pytest.fixture(scope="module")
def stages(mlflow: MlflowClient, parent: Run) -> dict[str, Run]:
    """Stage to its MLflow run."""
    mine = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    return {run.info.run_name: run for run in mlflow.search_runs([parent.info.experiment_id], mine)}


def test_the_bare_name_started_the_whole_pipeline(lab: Lab, finished: UUID) -> None:
    deployment = lab.api.read_deployment_by_name("ltx2-lora/ltx2-lora")
    assert lab.run(finished).deployment_id == deployment.id
    assert lab.tasks(finished) == dict.fromkeys(NAMES, "Built")


@pytest.mark.extra
def test_a_wrong_configuration_as_parameter_is_told_in_our_words(lab: Lab, finished: UUID) -> None:
    assert finished
    wrong = lab.submit("stage-probe", config={"train_lora": {"stepz": 3}, "model": {"checkpoint": "a/b"}})
    message = lab.wait(wrong, "Failed").state.message
    assert "unknown option 'train_lora.stepz'; did you mean 'steps'?" in message
    assert "option 'datasets' is missing; set it" in message


def test_stage_and_quarantine_tables(artifacts: dict[str, Any], folders: dict[str, Path]) -> None:
    rows = {row["stage"]: row for row in json.loads(artifacts["stages"].data)}
    assert list(rows) == NAMES
    assert (rows["probe"]["in"], rows["probe"]["out"], rows["probe"]["quarantined"]) == (5, 4, 1)
    assert {name: row["key"] for name, row in rows.items()} == {name: path.name for name, path in folders.items()}
    (aside,) = json.loads(artifacts["quarantine"].data)
    assert (aside["stage"], aside["item"], aside["reason"]) == ("probe", "miniature/empty.mp4", "empty_file")


def test_the_result_with_a_link_to_the_report(artifacts: dict[str, Any], parent: Run, folders: dict[str, Path]) -> None:
    said = artifacts["result"].data
    assert str(folders["train_lora"] / "lora.safetensors") in said
    assert "empty.mp4 (probe, empty_file)" in said
    assert f"/runs/{parent.info.run_id}/artifacts/index.html?workflowType=machine_learning)" in said
    assert f"/runs/{parent.info.run_id}/artifacts/index.html?workflowType=machine_learning)" in artifacts["report"].data


def test_a_link_to_mlflow(artifacts: dict[str, Any], parent: Run) -> None:
    assert f"/runs/{parent.info.run_id}?workflowType=machine_learning)" in artifacts["mlflow-run"].data


@pytest.mark.parametrize("picture", ["contact-sheet-miniature-train", "contact-sheet-miniature-eval", "renders"])
def test_pictures_can_be_seen_without_mlflow(artifacts: dict[str, Any], picture: str) -> None:
    kind, _, data = artifacts[f"picture-{picture}"].data.partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert len(set(image.convert("L").tobytes())) > 10


@pytest.mark.parametrize("stage", NAMES)
def test_progress_of_each_stage(artifacts: dict[str, Any], stage: str) -> None:
    made = artifacts[f"progress-{stage.replace('_', '-')}"]
    assert made.type == "progress"
    assert made.data == (0.0 if stage == "register" else 100.0)


def test_a_parent_run_and_a_child_for_each_stage(parent: Run, stages: dict[str, Run]) -> None:
    assert parent.info.status == "FINISHED"
    assert sorted(stages) == sorted(NAMES)
    assert {run.info.status for run in stages.values()} == {"FINISHED"}
    assert {parent.data.tags[f"ltx2.run.{name}"] for name in NAMES} == {run.info.run_id for run in stages.values()}


def test_parameters_and_versions(parent: Run, stages: dict[str, Run]) -> None:
    trained = stages["train_lora"].data.params
    assert (trained["steps"], trained["learning_rate"]) == (str(TRAIN["steps"]), "0.005")
    assert parent.data.params["train_lora.learning_rate"] == "0.005"
    assert parent.data.params["datasets.0.id"] == "miniature"
    assert parent.data.tags["version.prefect"].startswith("3.8.")
    assert len(parent.data.tags["git_commit"]) == 40


def test_metrics_over_steps(mlflow: MlflowClient, stages: dict[str, Run]) -> None:
    run_id = stages["train_lora"].info.run_id
    loss = {point.step: point.value for point in mlflow.get_metric_history(run_id, "loss")}
    assert sorted(loss) == list(range(1, TRAIN["steps"] + 1))
    assert all(0 < value < 100 for value in loss.values())
    assert {point.step for point in mlflow.get_metric_history(run_id, "eval/loss")} == {0, TRAIN["steps"]}


def test_the_eval_loss_is_the_checkpoints(folders: dict[str, Path], parent: Run) -> None:
    rows = {row.name: row for row in Manifest(folders["train_lora"] / "manifest.parquet", Checkpoint)}
    final = rows["final"]
    assert final.eval_loss is not None
    assert final.base_eval_loss is not None
    assert final.eval_loss != final.base_eval_loss
    assert parent.data.metrics["train_lora/eval_loss"] == final.eval_loss


def test_what_a_stage_consumed(stages: dict[str, Run], folders: dict[str, Path]) -> None:
    for stage in COVERED:
        found = {one.dataset.name: one.dataset.digest for one in stages[stage.name].inputs.dataset_inputs}
        upstream = [one for one in COVERED if one.name in stage.needs]
        assert found == {one.name: one.manifest(folders[one.name]).digest[:36] for one in upstream}


def test_artifacts_of_the_runs(mlflow: MlflowClient, parent: Run, stages: dict[str, Run]) -> None:
    def files(run: Run, folder: str | None = None) -> set[str]:
        return {Path(found.path).name for found in mlflow.list_artifacts(run.info.run_id, folder)}

    assert "index.html" in files(parent)
    assert "contact-sheet-miniature-train.png" in files(stages["split"])
    assert {"lora.safetensors", "metrics.parquet"} <= files(stages["train_lora"])
    assert {"gallery.html", "renders.png"} <= files(stages["render_validation"])
    assert len([name for name in files(stages["render_validation"], "renders") if name.endswith(".mp4")]) == 2
    assert files(stages["register"], "lora") == {"lora.safetensors", "model-card.md"}


def test_the_run_itself_has_losses_result_and_footage(
    mlflow: MlflowClient, parent: Run, stages: dict[str, Run]
) -> None:
    trained = stages["train_lora"].info.run_id
    for name in ("loss", "loss/video", "eval/loss"):
        own = mlflow.get_metric_history(parent.info.run_id, name)
        assert [(one.step, one.value) for one in own] == [
            (one.step, one.value) for one in mlflow.get_metric_history(trained, name)
        ]
        assert own
    clips = parent.data.metrics["result/clips"]
    assert parent.data.metrics["result/eval_loss"] == parent.data.metrics["train_lora/eval_loss"]
    assert parent.data.metrics["cost/gpu_hours"] == 0
    assert parent.data.metrics["cost/seconds"] > parent.data.metrics["cost/train_lora_seconds"] > 0
    assert [one.dataset.name for one in parent.inputs.dataset_inputs] == [FOLDER]
    assert parent.info.run_name.endswith(f"{clips:.0f} clips")
    assert "lora.safetensors" in parent.data.tags["mlflow.note.content"]


def test_the_pages_in_mlflow_contain_their_videos(
    mlflow: MlflowClient, parent: Run, stages: dict[str, Run], tmp_path: Path
) -> None:
    for run, name, videos in ((parent, "index.html", 2), (stages["render_validation"], "gallery.html", 2)):
        page = Path(mlflow.download_artifacts(run.info.run_id, name, str(tmp_path))).read_text()
        assert page.count('<video src="data:video/mp4;base64,') >= videos
        assert '<video src="r' not in page


def test_the_experiment_says_where_its_charts_are(mlflow: MlflowClient, parent: Run) -> None:
    tags = mlflow.get_experiment(parent.info.experiment_id).tags
    assert charts_route(parent.info.experiment_id) in tags[NOTE]
    shown = [chart["metricKey"] for chart in json.loads(tags[SHARED_VIEW])["compareRunCharts"]]
    assert set(shown) <= parent.data.metrics.keys()


def test_system_metrics(parent: Run) -> None:
    assert parent.data.metrics["system/system_memory_usage_megabytes"] > 0
    assert "system/cpu_utilization_percentage" in parent.data.metrics


def test_the_registered_version_is_the_trained_lora(
    mlflow: MlflowClient, folders: dict[str, Path], stages: dict[str, Run], tmp_path: Path
) -> None:
    model = mlflow.get_registered_model("ltx2-lora")
    assert [str(version) for version in model.aliases.values()] == ["1"]
    version = mlflow.get_model_version("ltx2-lora", "1")
    assert "| this LoRA |" in version.description
    assert f"/runs/{stages['render_validation'].info.run_id}/artifacts/gallery.html" in version.description
    assert version.source == f"runs:/{version.run_id}/lora"
    stored = mlflow.download_artifacts(version.run_id, "lora/lora.safetensors", str(tmp_path))
    trained = folders["train_lora"] / "lora.safetensors"
    assert Path(stored).read_bytes() == trained.read_bytes()


def test_renders_have_pictures_and_sound(toy: Toy, folders: dict[str, Path]) -> None:
    rows = list(Manifest(folders["render_validation"] / "manifest.parquet", Render))
    assert sorted(row.variant for row in rows) == ["base", "candidate"]
    for row in rows:
        with av.open(str(toy.workspace / row.file)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            container.seek(0)
            samples = sum(frame.samples for frame in container.decode(audio=0))
        assert [frame.shape for frame in frames] == [(RENDER["height"], RENDER["width"], 3)] * RENDER["num_frames"]
        assert frames[0].std() > 0
        assert samples >= row.audio_rate * RENDER["num_frames"] / row.frame_rate * 0.9


def test_the_report_names_what_was_set_aside(lab: Lab, toy: Toy, finished: UUID) -> None:
    page = (toy.workspace / "runs" / lab.run(finished).name / "index.html").read_text()
    assert all(name in page for name in NAMES)
    assert FOOTAGE[-1] in page
    assert '<a href="#quarantine">1, see what to do</a>' in page
