"""Training with CREPA: what gets gradients, what is kept and what is not, and that nothing but settings decides it."""

import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from ltx_core.errors import ConfigError, DataError, Stopped
from ltx_core.progress import Silent
from ltx_core.training import backward
from ltx_core.training.backward import EagerBackward, GraphedBackward
from ltx_core.training.batch import TrainBatch
from ltx_core.training.crepa import PREFIX
from ltx_core.training.evaluation import eval_loss
from ltx_core.training.loop import Run
from ltx_core.training.metrics import History
from ltx_core.training.order import Visit
from ltx_core.training.run import TrainJob, prepare, train_lora
from ltx_core.training.step import Rates, StepLosses, backward_step, take_step
from tests.numerics.training.test_ranks import check_alike, train_two
from tests.numerics.training.test_resume import KilledAt, in_child

pytestmark = pytest.mark.numerics
JobOf = Callable[..., TrainJob]
SourceOf = Callable[..., Any]
WIDTH = 12
CREPA = {"block_index": 0}
ROUTE = {"selection_ratio": 0.5, "start_layer_idx": 0, "end_layer_idx": -1}
GIVEN: dict[str, Any] = {"first_frame_probability": 0.3, "prefix_probability": 0.3, "prefix_latent_frames": 1}
ROLLED: dict[str, Any] = {"tread_routes": [ROUTE], "rollout": {"reflexflow": True}}


class WithFeatures:
    """Another source's clips with features of their frames, as the pool gives them: of trained clips alone."""

    def __init__(self, source: Any) -> None:
        self.source, self.samples, self.text = source, source.samples, source.text

    def load(self, clip_id: str) -> dict[str, Tensor]:
        loaded: dict[str, Tensor] = self.source.load(clip_id)
        if "held" in clip_id:
            return loaded
        grid, channels = loaded["video"].movedim(0, -1), loaded["video"].shape[0]
        mixed = grid @ torch.randn(channels, WIDTH, generator=torch.Generator().manual_seed(5))
        return {**loaded, "features": mixed.half()}


class StopsAt(Silent):
    """Somebody asks to stop when a step has been taken."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.stopping = False

    def advance(self, done: int, total: int, unit: str) -> None:
        self.stopping = done == self.step


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


def visits(run: Run, *names: str, number: int = 0) -> list[Visit]:
    return [Visit(s, number) for name in names for s in run.plan.samples if s.clip_id == name]


def step(
    run: Run, batches: Sequence[Sequence[Visit]], weight: float = 0.5, made_by: backward.Backward | None = None
) -> tuple[StepLosses, dict[str, Tensor]]:
    """What a step gives, and its gradients."""
    for parameter in run.parameters.values():
        parameter.grad = None
    share = 0.0 if run.objective.settings.rollout is None else 0.5
    found = backward_step(run.objective, batches, backward=made_by, crepa_weight=weight, rollout_share=share)
    return found, {name: p.grad.clone() for name, p in run.parameters.items() if p.grad is not None}


def equal(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(left[name].equal(right[name]) for name in left)


def names_in(path: Path) -> set[str]:
    with safe_open(path, "pt") as file:
        return set(file.keys())


def test_off_is_bit_equal_to_a_run_that_never_heard_of_it(job_of: JobOf, crepa_job: JobOf, tmp_path: Path) -> None:
    """The features lie there and nobody asks for them."""
    plain = train_lora(job_of(tmp_path / "plain"), Silent())
    off = train_lora(crepa_job(tmp_path / "off", crepa=None), Silent())
    assert off.lora_path.read_bytes() == plain.lora_path.read_bytes()
    assert off.metrics == plain.metrics


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


def test_a_run_that_was_stopped_ends_with_the_same_bytes(crepa_job: JobOf, tmp_path: Path) -> None:
    changes = {"crepa": {**CREPA, "schedule": "cosine", "warmup_steps": 1}, "tread_routes": [ROUTE], **GIVEN}
    whole = train_lora(crepa_job(tmp_path / "whole", **changes), Silent())
    job = crepa_job(tmp_path / "stopped", **changes)
    with pytest.raises(Stopped):
        train_lora(job, StopsAt(4))
    result = train_lora(job, Silent())
    assert result.resumed_from_step == 4
    assert result.lora_path.read_bytes() == whole.lora_path.read_bytes()
    assert result.metrics == whole.metrics
    ends = [tmp_path / name / "checkpoints" / "step-000007" / "adapter.safetensors" for name in ("whole", "stopped")]
    assert ends[0].read_bytes() == ends[1].read_bytes()


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


def test_two_ranks_train_and_end_it_as_one_does(crepa_job: JobOf, tmp_path: Path) -> None:
    changes = {"crepa": {**CREPA, "similarity_threshold": 0.109}, "log_interval": 1, "seed": 0, "steps": 5}
    alone = train_lora(crepa_job(tmp_path / "one", **changes), Silent())
    job = crepa_job(tmp_path / "two", **changes)
    assert train_two(job) == {}
    found = train_lora(job, Silent())  # nothing left to do: reads what the two wrote
    check_alike(found, alone)
    assert len([row for row in found.metrics if row.name == "crepa/alignment"]) == 3


def test_an_optimizer_that_keeps_it_in_bfloat16_resumes_it_too(crepa_job: JobOf, tmp_path: Path) -> None:
    whole = train_lora(crepa_job(tmp_path / "whole", optimizer="adamw_bf16"), Silent())
    job = crepa_job(tmp_path / "stopped", optimizer="adamw_bf16")
    with pytest.raises(Stopped):
        train_lora(job, StopsAt(4))
    assert train_lora(job, Silent()).lora_path.read_bytes() == whole.lora_path.read_bytes()


def test_eval_loss_does_not_know_it(crepa_job: JobOf, tmp_path: Path) -> None:
    on, off = (run_of(crepa_job, tmp_path / str(crepa), crepa=crepa) for crepa in (CREPA, None))
    assert eval_loss(on.objective, on.held_out, Silent()) == eval_loss(off.objective, off.held_out, Silent())


@pytest.mark.parametrize("changes", [{}, GIVEN, {"tread_routes": [ROUTE], **GIVEN}, ROLLED], ids=str)
def test_gradients_and_figures_do_not_depend_on_how_a_step_is_cut(
    changes: dict[str, Any], crepa_job: JobOf, tmp_path: Path
) -> None:
    run = run_of(crepa_job, tmp_path, **changes)
    clips = visits(run, "a", "b", "silent", number=1)
    together, gradients = step(run, [clips])
    apart, others = step(run, [clips[:1], clips[1:]])
    torch.testing.assert_close(gradients, others, rtol=1e-4, atol=1e-7)
    assert together.crepa == pytest.approx(apart.crepa, rel=1e-5)


@pytest.mark.parametrize("weight", [0.1, 1000.0])
def test_the_projector_is_clipped_by_itself(weight: float, crepa_job: JobOf, tmp_path: Path) -> None:
    """However large its gradient, the adapters' step is what it is without it; and the other way round."""
    run = run_of(crepa_job, tmp_path, max_grad_norm=1e-3)
    clips = [visits(run, "large", "large2")] * 2
    _, gradients = step(run, clips, weight)
    for parameter in run.parameters.values():
        parameter.grad = None
    record, _ = take_step(run.objective, clips, run.optimizer, run.parameters, Rates(1e-3, crepa_weight=weight))
    state = run.optimizer.state()
    for of_projector, told in ((True, "crepa"), (False, "all")):
        names = [name for name in gradients if name.startswith(PREFIX) == of_projector]
        whole = torch.linalg.vector_norm(torch.cat([gradients[name].flatten() for name in names]))
        moved = torch.linalg.vector_norm(torch.cat([state[f"{name}.exp_avg"].flatten() / 0.1 for name in names]))
        assert record.grad_norms[told] == pytest.approx(whole.item(), rel=1e-4)
        assert moved.item() == pytest.approx(min(whole.item(), 1e-3), rel=1e-3)


def test_at_weight_zero_it_is_not_computed(crepa_job: JobOf, tmp_path: Path) -> None:
    on, off = (run_of(crepa_job, tmp_path / str(crepa), crepa=crepa) for crepa in (CREPA, None))
    clips = visits(on, "large", "large2")
    found, gradients = step(on, [clips], weight=0.0)
    assert found.crepa == {}
    assert equal(gradients, step(off, [clips], weight=0.0)[1])


def test_recomputed_gradients_are_the_same_bits(crepa_job: JobOf, tmp_path: Path) -> None:
    kept = run_of(crepa_job, tmp_path / "kept", **GIVEN)
    again = run_of(crepa_job, tmp_path / "again", recompute=1.0, **GIVEN)
    clips = visits(kept, "large", "large2")
    assert equal(step(kept, [clips])[1], step(again, [clips])[1])


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
        clips = visits(run, "large", "large2")
        found, gradients = step(run, [clips], weight, graphed)
        wanted, others = step(run, [clips], weight, eager)
        torch.testing.assert_close(gradients, others)
        assert found.crepa == pytest.approx(wanted.crepa)
    assert [inputs["crepa_share"].item() for inputs in seen[:2]] == pytest.approx([0.25, 0.1])
    assert seen[0]["features"].shape == (2, 2, 4, WIDTH)
    assert not {"features", "crepa_share"} & seen[2].keys()


def test_the_batch_brings_features_at_the_places_of_tokens(crepa_job: JobOf, tmp_path: Path) -> None:
    run = run_of(crepa_job, tmp_path)
    batch: TrainBatch = run.objective.train_batch(visits(run, "large", "large2"))
    wanted = run.objective.source.load("large2")["features"]
    assert batch.features is not None
    assert batch.features.shape == (2, 2, 4, WIDTH)
    assert batch.features[1, 1, 1].equal(wanted[1, 0, 1])
    assert batch.features[1, 1, 2].equal(wanted[1, 1, 0])
    assert run.objective.eval_batch(run.held_out[0], 0.5).features is None


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
        run.objective.train_batch(visits(run, "b"))
    source.load = lambda clip_id: {**full(clip_id), "features": torch.zeros(2, 1, 1, WIDTH)}
    with pytest.raises(DataError, match=r"clip b has frame features \[2, 1, 1, 12\]; \[2, 1, 2, D\] is wanted"):
        run.objective.train_batch(visits(run, "b"))
