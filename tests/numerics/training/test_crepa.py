"""Training with CREPA: what gets gradients, what is kept and what is not, and that nothing but settings decides it."""

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from ltx_core.errors import ConfigError, DataError
from ltx_core.progress import Silent
from ltx_core.training import step as backward
from ltx_core.training.batch import TrainBatch
from ltx_core.training.loop import Run
from ltx_core.training.methods.crepa import PREFIX
from ltx_core.training.metrics import History
from ltx_core.training.order import SampleOccurrence
from ltx_core.training.run import TrainJob, prepare, train_lora
from ltx_core.training.step import EagerBackward, GraphedBackward, OptimizerStep, backward_step, take_step
from ltx_core.training.step_losses import StepLosses
from tests.numerics.training.conftest import FEATURES, WithFeatures
from tests.numerics.training.test_ranks import check_alike, train_two
from tests.numerics.training.test_resume import KilledAt, in_child

pytestmark = pytest.mark.numerics
JobOf = Callable[..., TrainJob]
SourceOf = Callable[..., Any]
CREPA = {"block_index": 0}
ROUTE = {"selection_ratio": 0.5, "start_layer_idx": 0, "end_layer_idx": -1}
GIVEN: dict[str, Any] = {"first_frame_probability": 0.3, "prefix_probability": 0.3, "prefix_latent_frames": 1}


@pytest.fixture
def crepa_job(job_of: JobOf, source_of: SourceOf) -> JobOf:
    """A short job with features; `crepa=None` switches the method off."""

    def make(folder: Path, **changes: Any) -> TrainJob:
        return job_of(folder, WithFeatures(source_of()), **{"crepa": CREPA, **changes})  # type: ignore[arg-type]

    return make


def run_of(job_of: JobOf, folder: Path, **changes: Any) -> Run:
    """A run at its start, its adapter not idle."""
    run = prepare(job_of(folder, **changes), folder, "digest", History(), Silent())
    for number, (name, parameter) in enumerate(run.parameters.items()):
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(number))
    return run


def occurrences(run: Run, *names: str, number: int = 0) -> list[SampleOccurrence]:
    return [SampleOccurrence(s, number) for name in names for s in run.plan.samples if s.clip_id == name]


def step(
    run: Run,
    batches: Sequence[Sequence[SampleOccurrence]],
    weight: float = 0.5,
    made_by: backward.Backward | None = None,
) -> tuple[StepLosses, dict[str, Tensor]]:
    """What a step gives, and its gradients."""
    for parameter in run.parameters.values():
        parameter.grad = None
    found = backward_step(run.objective, batches, backward=made_by, strengths={"crepa": weight})
    return found, {name: p.grad.clone() for name, p in run.parameters.items() if p.grad is not None}


def names_in(path: Path) -> set[str]:
    with safe_open(path, "pt") as file:
        return set(file.keys())


def test_the_projector_is_trained_kept_and_given_to_nobody(crepa_job: JobOf, tmp_path: Path) -> None:
    result = train_lora(crepa_job(tmp_path, ema_decay=0.9), Silent())
    newest = tmp_path / "checkpoints" / "step-000007"
    projector = {f"{PREFIX}{layer}.{part}" for layer in ("norm", "linear") for part in ("weight", "bias")}
    assert projector <= names_in(newest / "adapter.safetensors")
    assert {f"{name}.exp_avg" for name in projector} <= names_in(newest / "optimizer.safetensors")
    for exported in (result.lora_path, newest / "lora.safetensors", newest / "average.safetensors"):
        assert not [name for name in names_in(exported) if "crepa" in name or "projector" in name]
    fresh = prepare(crepa_job(tmp_path / "fresh"), tmp_path / "fresh", "digest", History(), Silent())
    with safe_open(newest / "adapter.safetensors", "pt") as file:
        assert all(not file.get_tensor(name).equal(fresh.parameters[name].detach()) for name in projector)


def test_figures_are_reported_and_the_loss_stays_that_of_velocities(crepa_job: JobOf, tmp_path: Path) -> None:
    result = train_lora(crepa_job(tmp_path, log_interval=1, crepa={**CREPA, "cutoff_step": 4}), Silent())
    by_name: dict[str, list[tuple[int, float]]] = {}
    for row in result.metrics:
        by_name.setdefault(row.name, []).append((row.step, row.value))
    for name in ("alignment", "self_similarity", "weight", "loss"):
        assert [at for at, _ in by_name[f"crepa/{name}"]] == [1, 2, 3, 4]
    scores, losses = (dict(by_name[f"crepa/{name}"]) for name in ("alignment", "loss"))
    assert losses == {at: pytest.approx(-0.5 * score) for at, score in scores.items()}
    assert dict(by_name["grad_norm/crepa"]).keys() == {1, 2, 3, 4}
    own = dict(by_name["crepa/self_similarity"])
    assert all(-1 <= value <= 1 for value in own.values())
    assert own[4] > own[1]
    assert dict(by_name["loss"])[1] == dict(by_name["loss/video"])[1] + dict(by_name["loss/audio"])[1]


def test_a_run_killed_after_it_ended_by_similarity_goes_on_without_it(crepa_job: JobOf, tmp_path: Path) -> None:
    """Killed two steps after a checkpoint; whether it has ended is known only from the steps before that."""
    changes = {"crepa": {**CREPA, "similarity_threshold": 0.109}, "log_interval": 1, "seed": 0}
    whole = train_lora(crepa_job(tmp_path / "whole", **changes), Silent())
    at = [row.step for row in whole.metrics if row.name == "crepa/weight"]
    assert at == list(range(1, len(at) + 1))
    assert 1 < len(at) < 5
    job = crepa_job(tmp_path / "killed", **changes)
    assert in_child(lambda: train_lora(job, KilledAt(5))) == -signal.SIGKILL
    result = train_lora(job, Silent())
    assert result.resumed_from_step == 3
    assert result.lora_path.read_bytes() == whole.lora_path.read_bytes()
    assert result.metrics == whole.metrics


@pytest.mark.extra
def test_two_ranks_train_and_end_it_as_one_does(crepa_job: JobOf, tmp_path: Path) -> None:
    changes = {"crepa": {**CREPA, "similarity_threshold": 0.109}, "log_interval": 1, "seed": 0, "steps": 5}
    alone = train_lora(crepa_job(tmp_path / "one", **changes), Silent())
    job = crepa_job(tmp_path / "two", **changes)
    assert train_two(job) == {}
    found = train_lora(job, Silent())  # nothing left to do: reads what the two wrote
    check_alike(found, alone)
    assert len([row for row in found.metrics if row.name == "crepa/alignment"]) == 3


@pytest.mark.parametrize("weight", [0.1, 1000.0])
def test_the_projector_is_clipped_by_itself(weight: float, crepa_job: JobOf, tmp_path: Path) -> None:
    """However large its gradient, the adapters' step is what it is without it; and the other way round."""
    run = run_of(crepa_job, tmp_path, max_grad_norm=1e-3)
    clips = [occurrences(run, "large", "large2")] * 2
    _, gradients = step(run, clips, weight)
    for parameter in run.parameters.values():
        parameter.grad = None
    record, _ = take_step(run.objective, clips, run.optimizer, run.parameters, OptimizerStep(0, {"crepa": weight}))
    state = run.optimizer.state()
    for of_projector, told in ((True, "crepa"), (False, "all")):
        names = [name for name in gradients if name.startswith(PREFIX) == of_projector]
        whole = torch.linalg.vector_norm(torch.cat([gradients[name].flatten() for name in names]))
        moved = torch.linalg.vector_norm(torch.cat([state[f"{name}.exp_avg"].flatten() / 0.1 for name in names]))
        assert record.grad_norms[told] == pytest.approx(whole.item(), rel=1e-4)
        assert moved.item() == pytest.approx(min(whole.item(), 1e-3), rel=1e-3)


def test_features_and_weight_are_inputs_of_a_graph(
    crepa_job: JobOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Tensor]] = []

    def graphs(work: Any, *_: object) -> Any:
        def run(inputs: dict[str, Tensor]) -> Any:
            seen.append(inputs)
            return work(inputs)

        return run

    monkeypatch.setattr(backward, "StepGraphs", graphs)  # the real one wants a GPU
    run = run_of(crepa_job, tmp_path, tread_routes=[ROUTE], **GIVEN)
    graphed, eager = GraphedBackward(run.objective, []), EagerBackward(run.objective)
    for weight in (0.5, 0.2, 0.0):
        clips = occurrences(run, "large", "large2")
        found, gradients = step(run, [clips], weight, graphed)
        wanted, others = step(run, [clips], weight, eager)
        torch.testing.assert_close(gradients, others)
        assert found.methods == {name: pytest.approx(figures) for name, figures in wanted.methods.items()}
        assert ("crepa" in found.methods) == (weight > 0)
    assert [inputs["crepa_weight"].item() for inputs in seen[:2]] == pytest.approx([0.25, 0.1])
    assert seen[0]["crepa.features"].shape == (2, 2, 4, FEATURES)
    assert not {"crepa.features", "crepa_weight"} & seen[2].keys()


def test_the_batch_brings_features_at_the_places_of_tokens(crepa_job: JobOf, tmp_path: Path) -> None:
    run = run_of(crepa_job, tmp_path)
    batch: TrainBatch = run.objective.train_batch(occurrences(run, "large", "large2"))
    wanted = run.objective.source.load("large2")["features"]
    assert batch.extras["crepa.features"].shape == (2, 2, 4, FEATURES)
    assert batch.extras["crepa.features"][1, 1, 1].equal(wanted[1, 0, 1])
    assert batch.extras["crepa.features"][1, 1, 2].equal(wanted[1, 1, 0])
    assert not run.objective.eval_batch(run.held_out[0], 0.5).extras


def test_clips_without_features_are_told(job_of: JobOf, crepa_job: JobOf, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no features of its frames; run `--from embed_frames`"):
        train_lora(job_of(tmp_path / "none", crepa=CREPA), Silent())
    run = run_of(crepa_job, tmp_path / "some")
    source: Any = run.objective.source
    full = source.load

    def lacking(clip_id: str) -> dict[str, Tensor]:
        loaded = full(clip_id)
        return {k: v for k, v in loaded.items() if k != "features"} if clip_id == "b" else loaded

    source.load = lacking
    with pytest.raises(DataError, match=r"clip b has no features of its frames"):
        run.objective.train_batch(occurrences(run, "b"))
    source.load = lambda clip_id: {**full(clip_id), "features": torch.zeros(2, 1, 1, FEATURES)}
    with pytest.raises(DataError, match=r"clip b has frame features \[2, 1, 1, 12\]; \[2, 1, 2, D\] is wanted"):
        run.objective.train_batch(occurrences(run, "b"))


def test_a_step_whose_videos_are_all_given_aligns_nothing(crepa_job: JobOf, tmp_path: Path) -> None:
    run = run_of(crepa_job, tmp_path, video_conditioning_probability=1.0)
    batch = occurrences(run, "a", "b")
    record, _ = take_step(run.objective, [batch], run.optimizer, run.parameters, OptimizerStep(0))
    assert "crepa" not in record.methods
    assert {loss.modality for loss in record.losses} == {"audio"}
