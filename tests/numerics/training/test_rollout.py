"""Training with rollouts and ReflexFlow on a real transformer: nothing but settings and data decides what is learnt."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.flow_matching import sample_losses
from ltx_core.io.tensors import read_tensors
from ltx_core.progress import Silent
from ltx_core.training import step as backward
from ltx_core.training.batch import TrainBatch
from ltx_core.training.loop import Run
from ltx_core.training.methods.rollout import CHANCE, CLEAN, chosen, reflex_losses, roll_out
from ltx_core.training.metrics import Metric
from ltx_core.training.order import SampleOccurrence
from ltx_core.training.out_of_memory import dry_run
from ltx_core.training.run import TrainJob, train_lora
from ltx_core.training.step import EagerBackward, GraphedBackward, backward_step
from tests.numerics.training.test_ranks import check_alike, together
from tests.numerics.training.test_tread import GIVEN, equal, occurrences, run_of
from tests.numerics.training.test_tread import HALF as ROUTE

pytestmark = pytest.mark.numerics
JobOf = Callable[..., TrainJob]
ALWAYS: dict[str, Any] = {"probability": 1.0, "max_sigma_offset": 0.4, "num_model_calls": 2}
SOMETIMES: dict[str, Any] = ALWAYS | {"probability": 0.6, "ramp_steps": 4}
HALF = 0.5
REFLEX: dict[str, Any] = {"reflexflow": True, "reflexflow_alpha": 2.0}


def gradients(
    run: Run, batches: Sequence[Sequence[SampleOccurrence]], made_by: backward.Backward | None = None
) -> dict[str, torch.Tensor]:
    """Of a step that rolls half of its occurrences out."""
    for parameter in run.parameters.values():
        parameter.grad = None
    backward_step(run.objective, batches, backward=made_by, strengths={"rollout": HALF})
    return {name: p.grad.clone() for name, p in run.parameters.items() if p.grad is not None}


def rolled_out(run: Run, batch: TrainBatch, rate: float = 1.0) -> TrainBatch:
    settings = run.objective.settings.rollout
    assert settings is not None
    return roll_out(settings, run.objective, batch, rate)


def values(metrics: tuple[Metric, ...], name: str) -> dict[int, float]:
    return {row.step: row.value for row in metrics if row.name == name}


def test_a_run_tells_of_its_rollouts(job_of: JobOf, tmp_path: Path) -> None:
    """While the share rises. That a run which is resumed tells the same: numerics/methods/test_contract.py."""
    whole = train_lora(job_of(tmp_path, rollout=SOMETIMES | REFLEX, tread_routes=[ROUTE], **GIVEN), Silent())
    assert set(values(whole.metrics, "rollout/video/share")) <= {2, 4, 6, 7}
    for name in ("offset", "drift", "anti_drift", "compensated"):
        assert all(value > 0 for value in values(whole.metrics, f"rollout/video/{name}").values())


@pytest.mark.extra
def test_two_ranks_train_as_one_does(job_of: JobOf, tmp_path: Path) -> None:
    """Cut among ranks, the base comes together only if both make as many forwards, whose samples ever are rolled out.
    Of whole copies: numerics/methods/test_contract.py.
    """
    changes = {"rollout": ALWAYS | REFLEX | {"probability": 0.3}, "steps": 3}
    alone = train_lora(job_of(tmp_path / "one", **changes), Silent())
    job = job_of(tmp_path / "two", **changes)
    assert together(lambda ranks: train_lora(replace(job, ranks=ranks, sharding="full"), Silent())) == {}
    check_alike(train_lora(job, Silent()), alone)


def test_gradients_do_not_depend_on_how_a_step_is_cut(job_of: JobOf, tmp_path: Path) -> None:
    run = run_of(job_of, tmp_path, rollout=ALWAYS | REFLEX)
    for number in range(9):
        clips = occurrences(run, "a", "b", "silent", number=number)
        if 0 < chosen(run.objective.train_batch(clips), HALF).sum() < 3:
            break
    torch.testing.assert_close(gradients(run, [clips]), gradients(run, [clips[:1], clips[1:]]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("reflex", [pytest.param({}, marks=pytest.mark.extra), REFLEX])
def test_a_graph_gets_the_states_as_inputs(
    reflex: dict[str, Any], job_of: JobOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same form whether a sample of a batch is rolled out or none is, and the same gradients as step by step."""
    seen: list[dict[str, torch.Tensor]] = []

    def graphs(work: Any, *_: object) -> Any:
        def run(inputs: dict[str, torch.Tensor]) -> Any:
            seen.append(inputs)
            return work(inputs)

        return run

    monkeypatch.setattr(backward, "StepGraphs", graphs)  # the real one wants a GPU
    run = run_of(job_of, tmp_path, rollout=ALWAYS | reflex, tread_routes=[ROUTE])
    clips = [occurrences(run, "large", "large2", number=number) for number in range(5)]
    for some in clips:
        graphed = gradients(run, [some], GraphedBackward(run.objective, list(run.parameters.values())))
        torch.testing.assert_close(graphed, gradients(run, [some], EagerBackward(run.objective)))
    forms = {tuple((name, tuple(tensor.shape)) for name, tensor in sorted(inputs.items())) for inputs in seen}
    assert len(forms) == 1
    made = GraphedBackward(run.objective, list(run.parameters.values()))
    losses = [
        backward_step(run.objective, clips, backward=by, strengths={"rollout": HALF}).losses for by in (made, None)
    ]
    assert losses[0] == losses[1]
    rolled = ["rollout" in loss.measures for loss in losses[0]]
    assert 0 < sum(rolled) < len(rolled)


def test_what_is_given_stays_bit_for_bit(job_of: JobOf, tmp_path: Path) -> None:
    run = run_of(job_of, tmp_path, rollout=ALWAYS, first_frame_probability=1.0, audio_conditioning_probability=1.0)
    batch = run.objective.train_batch(occurrences(run, "large", "large2"))
    rolled = rolled_out(run, batch)
    for before, after in ((batch.video, rolled.video), (batch.audio, rolled.audio)):
        assert before is not None
        assert after is not None
        assert before.clean.any()
        assert after.noisy[before.clean].equal(before.noisy[before.clean])
    assert not rolled.video.noisy[~batch.video.clean].equal(batch.video.noisy[~batch.video.clean])


def test_all_of_a_step_is_rolled_out_by_the_weights_it_begins_with(job_of: JobOf, tmp_path: Path) -> None:
    """The LoRA of that step counts; gradients of the batches before do not."""
    run = run_of(job_of, tmp_path, rollout=ALWAYS)
    batch = run.objective.train_batch(occurrences(run, "a", "b"))
    first = rolled_out(run, batch).video.noisy
    backward_step(run.objective, [occurrences(run, "large")], strengths={"rollout": 0.0})
    assert rolled_out(run, batch).video.noisy.equal(first)
    for name, parameter in run.parameters.items():
        if "lora_B" in name:
            parameter.data.mul_(2)
    assert not rolled_out(run, batch).video.noisy.equal(first)


def test_rollouts_take_no_route_and_leave_no_graph(job_of: JobOf, tmp_path: Path) -> None:
    run = run_of(job_of, tmp_path, rollout=ALWAYS, tread_routes=[ROUTE])
    lengths: list[int] = []
    for block in run.objective.transformer.transformer_blocks:
        block.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    rolled = rolled_out(run, run.objective.train_batch(occurrences(run, "large")))
    assert lengths == [8, 8] * 2  # all of them
    assert not rolled.video.noisy.requires_grad
    assert not rolled.video.target.requires_grad


def test_samples_that_were_rolled_out_have_reflexflows_loss_and_no_others(job_of: JobOf, tmp_path: Path) -> None:
    changes = ALWAYS | REFLEX | {"reflexflow_beta1": 3.0, "reflexflow_beta2": 0.5}
    run = run_of(job_of, tmp_path, rollout=changes, first_frame_probability=0.5)
    batch = run.objective.train_batch(occurrences(run, "a", "b", "silent"))
    share = batch.extras[CHANCE].median().item() + 1e-6
    rolled = rolled_out(run, batch, share)
    losses = run.objective.losses(rolled)
    marked = chosen(batch, share)
    assert 0 < marked.sum() < 3
    for name, stream, velocity, found in zip(
        ("video", "audio"),
        (rolled.video, rolled.audio),
        run.objective.predict(rolled),
        (losses.video, losses.audio),
        strict=True,
    ):
        assert stream is not None
        assert velocity is not None
        assert found is not None
        clean = rolled.extras[CLEAN.format(name)]
        plain = sample_losses(velocity, stream.target, stream.weight)
        parts = reflex_losses(velocity, stream.target, stream.weight, clean, alpha=2.0)
        torch.testing.assert_close(found, torch.where(marked, 3 * parts.anti_drift + 0.5 * parts.compensated, plain))


def test_the_dry_run_rolls_out_though_the_first_step_does_not(job_of: JobOf, tmp_path: Path) -> None:
    run = run_of(job_of, tmp_path, rollout=SOMETIMES | REFLEX)
    forwards: list[bool] = []
    first = run.objective.transformer.transformer_blocks[0]
    first.register_forward_pre_hook(lambda *_: forwards.append(torch.is_grad_enabled()))
    dry_run(run.objective, run.plan, run.parameters, run.backward)
    assert forwards == [False, False, False, True]


def test_rollouts_change_what_is_learnt(job_of: JobOf, tmp_path: Path) -> None:
    """And a share that is still 0 does not."""
    plain = train_lora(job_of(tmp_path / "plain", steps=2), Silent())
    late = train_lora(job_of(tmp_path / "late", steps=2, rollout={"ramp_start_step": 100}), Silent())
    rolled = train_lora(job_of(tmp_path / "rolled", steps=2, rollout=ALWAYS), Silent())
    tensors = [read_tensors(result.lora_path)[0] for result in (plain, late, rolled)]
    assert equal(tensors[0], tensors[1])
    assert not equal(tensors[0], tensors[2])
    assert plain.base_eval_loss == rolled.base_eval_loss
