"""Training with routes over blocks (TREAD): what is learnt, and that nothing but settings and data decides it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.progress import Silent
from ltx_core.training import step as backward
from ltx_core.training.evaluation import eval_loss
from ltx_core.training.loop import Run
from ltx_core.training.metrics import History
from ltx_core.training.order import SampleOccurrence
from ltx_core.training.run import TrainJob, TrainResult, prepare, train_lora
from ltx_core.training.step import EagerBackward, GraphedBackward, backward_step

pytestmark = pytest.mark.numerics
JobOf = Callable[..., TrainJob]
WriteOnce = Callable[[str, Callable[[Path], object]], Path]
HALF = {"selection_ratio": 0.5, "start_layer_idx": 1, "end_layer_idx": -1}
WHOLE_MODEL = HALF | {"start_layer_idx": 0}
GIVEN: dict[str, Any] = {"first_frame_probability": 0.3, "prefix_probability": 0.3, "caption_dropout": 0.2}
LEARNS: dict[str, Any] = {
    "steps": 60,
    "learning_rate": 1e-2,
    "rank": 4,
    "eval_interval": 60,
    "checkpoint_interval": 60,
    "gradient_accumulation_steps": 1,
}


def run_of(job_of: JobOf, folder: Path, **changes: Any) -> Run:
    """A run at its start, its adapter not idle."""
    run = prepare(job_of(folder, **changes), folder, "digest", History(), Silent())
    for number, (name, parameter) in enumerate(run.parameters.items()):
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(number))
    return run


def occurrences(run: Run, *names: str, number: int = 0) -> list[SampleOccurrence]:
    return [SampleOccurrence(s, number) for name in names for s in run.plan.samples if s.clip_id == name]


def gradients(
    run: Run, batches: Sequence[Sequence[SampleOccurrence]], made_by: backward.Backward | None = None
) -> dict[str, torch.Tensor]:
    for parameter in run.parameters.values():
        parameter.grad = None
    backward_step(run.objective, batches, backward=made_by)
    return {name: p.grad.clone() for name, p in run.parameters.items() if p.grad is not None}


def equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(left[name].equal(right[name]) for name in left)


@pytest.fixture
def control(written_once: WriteOnce, job_of: JobOf) -> TrainResult:
    """What is learnt without a route, trained once."""
    folder = written_once("without a route", lambda folder: train_lora(job_of(folder, **LEARNS), Silent()))
    return train_lora(job_of(folder, **LEARNS), Silent())  # nothing left to do: reads what is there


@pytest.mark.extra
@pytest.mark.parametrize("route", [HALF, WHOLE_MODEL])
def test_eval_loss_falls_as_it_does_without_a_route(
    route: dict[str, Any], job_of: JobOf, control: TrainResult, tmp_path: Path
) -> None:
    """Measured with all tokens, on the same clips, noise and seeds; base and start are equal."""
    routed = train_lora(job_of(tmp_path / "routed", **LEARNS, tread_routes=[route]), Silent())
    assert control.eval_loss is not None
    assert routed.eval_loss is not None
    assert control.base_eval_loss is not None
    assert routed.base_eval_loss == control.base_eval_loss
    assert routed.eval_loss != control.eval_loss
    fall, control_fall = (control.base_eval_loss - found.eval_loss for found in (routed, control))
    assert fall > 0.3 * control.base_eval_loss
    assert fall > 0.8 * control_fall


def test_eval_loss_takes_no_route(job_of: JobOf, tmp_path: Path) -> None:
    plain = run_of(job_of, tmp_path / "plain")
    routed = run_of(job_of, tmp_path / "routed", tread_routes=[WHOLE_MODEL])
    found = [eval_loss(run.objective, run.held_out, Silent()) for run in (plain, routed)]
    assert found[0] == found[1]
    batches = [run.objective.train_batch(occurrences(run, "large")) for run in (plain, routed)]
    assert not routed.objective.losses(batches[1]).video.equal(plain.objective.losses(batches[0]).video)


def test_gradients_do_not_depend_on_how_a_step_is_cut(job_of: JobOf, tmp_path: Path) -> None:
    """Some of these occurrences have a first frame or prefix and some have not."""
    run = run_of(job_of, tmp_path, tread_routes=[HALF], **GIVEN)
    several = [occurrences(run, "a", "b", "silent", number=number) for number in range(9)]
    learnt = [run.objective.train_batch(clips).video.weight.sum(dim=1) for clips in several]
    clips = next(clips for clips, counts in zip(several, learnt, strict=True) if len(counts.unique()) == 2)
    torch.testing.assert_close(gradients(run, [clips]), gradients(run, [clips[:1], clips[1:]]), rtol=1e-4, atol=1e-7)


def test_kept_tokens_are_inputs_of_a_graph(job_of: JobOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph is replayed with other tokens than it was captured with, so they must come in by name."""
    seen: list[dict[str, torch.Tensor]] = []

    def graphs(work: Any, *_: object) -> Any:
        def run(inputs: dict[str, torch.Tensor]) -> Any:
            seen.append(inputs)
            return work(inputs)

        return run

    monkeypatch.setattr(backward, "StepGraphs", graphs)  # the real one wants a GPU
    two = [HALF | {"end_layer_idx": 1}, HALF | {"start_layer_idx": 0, "end_layer_idx": 0, "selection_ratio": 0.3}]
    run = run_of(job_of, tmp_path, tread_routes=two)
    clips = occurrences(run, "large", "large2")
    graphed = gradients(run, [clips], GraphedBackward(run.objective, list(run.parameters.values())))
    torch.testing.assert_close(graphed, gradients(run, [clips], EagerBackward(run.objective)))
    assert [tensor.shape for name, tensor in sorted(seen[0].items()) if name.startswith("tread.")] == [(2, 6), (2, 4)]
    other = gradients(run, [occurrences(run, "large", "large2", number=1)], GraphedBackward(run.objective, []))
    assert {name: t.shape for name, t in seen[0].items()} == {name: t.shape for name, t in seen[1].items()}
    assert not equal(graphed, other)


def test_video_alone_is_routed_too(job_of: JobOf, tmp_path: Path) -> None:
    run = run_of(job_of, tmp_path, tread_routes=[WHOLE_MODEL], modalities="video")
    lengths: list[int] = []
    for block in run.objective.transformer.transformer_blocks:
        block.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    found = gradients(run, [occurrences(run, "large")])
    assert lengths == [4, 4]
    assert all(bool(gradient.isfinite().all()) for gradient in found.values())
