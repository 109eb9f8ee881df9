"""One optimizer step: gradients, masks, memory; and the eval loss."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.adapters.lora import without_lora
from ltx_core.errors import DataError, OutOfMemory
from ltx_core.progress import Silent
from ltx_core.training.evaluation import eval_clips, eval_loss
from ltx_core.training.loop import Run
from ltx_core.training.metrics import History
from ltx_core.training.order import SampleOccurrence
from ltx_core.training.out_of_memory import dry_run, largest_batch, out_of_memory_errors
from ltx_core.training.run import TrainJob, prepare
from ltx_core.training.step import EagerBackward, OptimizerStep, backward_step, grad_norms, take_step, update
from tests.forwards import watched

pytestmark = pytest.mark.numerics


@pytest.fixture
def run_of(job_of: Callable[..., TrainJob], tmp_path: Path) -> Callable[..., Run]:
    """A run that is ready and has taken no step."""

    def make(**changes: Any) -> Run:
        job = job_of(tmp_path, changes.pop("source", None), **changes)
        run = prepare(job, tmp_path, "digest", History(), Silent())
        generator = torch.Generator().manual_seed(1)
        for name, parameter in run.parameters.items():
            if "lora_B" in name:  # with B = 0 no gradient would reach A
                parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
        return run

    return make


def gradients(run: Run, batches: Sequence[Sequence[SampleOccurrence]]) -> dict[str, torch.Tensor]:
    backward_step(run.objective, batches)
    found = {name: p.grad.clone() for name, p in run.parameters.items() if p.grad is not None}
    for parameter in run.parameters.values():
        parameter.grad = None
    return found


def occurrences(run: Run, *names: str) -> list[SampleOccurrence]:
    by_name = {sample.clip_id: sample for sample in run.plan.samples}
    return [SampleOccurrence(by_name[name], 0) for name in names]


def check_close(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    assert all(torch.allclose(left[name], right[name], rtol=1e-3, atol=1e-6) for name in left)


def test_gradients_do_not_depend_on_how_a_step_is_cut(run_of: Callable[..., Run]) -> None:
    """Half the clips lack sound: the audio mean is over those that have it, in whatever batch they come."""
    run = run_of()
    whole = gradients(run, [occurrences(run, "a", "b", "silent")])
    check_close(gradients(run, [occurrences(run, "a", "silent"), occurrences(run, "b")]), whole)
    check_close(gradients(run, [occurrences(run, "b"), occurrences(run, "silent"), occurrences(run, "a")]), whole)


def test_audio_loss_weight_scales_the_gradient_of_audio_alone(run_of: Callable[..., Run]) -> None:
    """The gradient is the picture's plus so many times the sound's."""
    found = []
    for weight in (0.0, 1.0, 3.0):
        run = run_of(audio_loss_weight=weight)
        found.append(gradients(run, [occurrences(run, "a", "b", "silent")]))
    none, once, thrice = found
    assert any(not torch.equal(none[name], once[name]) for name in once)
    check_close(thrice, {name: none[name] + 3 * (once[name] - none[name]) for name in once})


def test_clip_without_sound_does_not_water_down_the_audio_loss(run_of: Callable[..., Run]) -> None:
    run = run_of()
    seen, num_tokens, _ = backward_step(run.objective, [occurrences(run, "a", "silent")])
    alone, *_ = backward_step(run.objective, [occurrences(run, "a")])
    audio = [loss for loss in seen if loss.modality == "audio"]
    assert len(audio) == 1
    assert audio[0].loss == pytest.approx(alone[1].loss, rel=1e-5)
    assert num_tokens == 2 * (4 + 9)


def test_checkpointed_gradients_are_the_same(run_of: Callable[..., Run]) -> None:
    plain, checkpointed = run_of(), run_of(activation_checkpointing=1.0)
    check_close(
        gradients(checkpointed, [occurrences(checkpointed, "a", "b")]), gradients(plain, [occurrences(plain, "a", "b")])
    )


def test_gradients_are_clipped_to_their_joint_norm_and_reported_whole(run_of: Callable[..., Run]) -> None:
    run = run_of(max_grad_norm=1e-3, learning_rate=1e-3, warmup_steps=0)
    backward_step(run.objective, [occurrences(run, "a")])
    start = {name: p.detach().clone() for name, p in run.parameters.items()}
    before = torch.linalg.vector_norm(
        torch.cat([p.grad.flatten() for p in run.parameters.values() if p.grad is not None])
    ).item()
    norms = update(
        run.optimizer,
        run.parameters,
        grad_norms(run.parameters),
        step=0,
        max_grad_norm=1e-3,
        clip_ids=["a"],
    )
    assert norms["all"] == pytest.approx(before, rel=1e-5)
    assert norms["all"] == pytest.approx(sum(norms[g] ** 2 for g in ("video", "audio", "cross")) ** 0.5, rel=1e-5)
    largest = max((p.detach() - start[name]).abs().max().item() for name, p in run.parameters.items())
    assert largest == pytest.approx(1e-3, rel=0.02)  # AdamW's first step is the rate
    state = run.optimizer.state()
    moments = [state[f"{name}.exp_avg"].flatten() / 0.1 for name in run.parameters]
    assert torch.linalg.vector_norm(torch.cat(moments)).item() == pytest.approx(1e-3, rel=1e-3)


def moments(run: Run) -> dict[str, torch.Tensor]:
    """What the optimizer's first step took for the gradient, by parameter."""
    return {
        name.removesuffix(".exp_avg"): tensor / 0.1
        for name, tensor in run.optimizer.state().items()
        if name.endswith(".exp_avg")
    }


@pytest.mark.parametrize("batches", [["a", "b"], ["a b", "silent"], ["silent", "large large2"]])
def test_a_step_that_is_not_full_weighs_by_its_clips(batches: list[str], run_of: Callable[..., Run]) -> None:
    """Two batches of two are a full one; the mean over its clips is clipped as ever, and counts by their number."""
    for norm in (1e6, 1e-2):
        run = run_of(max_grad_norm=norm)
        of_step = [occurrences(run, *names.split()) for names in batches]
        mean = gradients(run, of_step)
        whole = torch.linalg.vector_norm(torch.cat([gradient.flatten() for gradient in mean.values()])).item()
        take_step(run.objective, of_step, run.optimizer, run.parameters, OptimizerStep(0))
        share = sum(map(len, of_step)) / 4 * min(norm / whole, 1)
        check_close(moments(run), {name: gradient * share for name, gradient in mean.items()})


def test_a_full_step_counts_as_it_did(run_of: Callable[..., Run]) -> None:
    run = run_of(max_grad_norm=1e6)
    full = [occurrences(run, "a", "b"), occurrences(run, "large", "large2")]
    mean = gradients(run, full)
    take_step(run.objective, full, run.optimizer, run.parameters, OptimizerStep(0))
    state = run.optimizer.state()
    for name, gradient in mean.items():
        assert torch.equal(state[f"{name}.exp_avg"], torch.zeros_like(gradient).lerp(gradient, 1 - 0.9))


def test_not_finite_changes_no_weight(run_of: Callable[..., Run], source_of: Any) -> None:
    run = run_of(source=source_of(video_scale={"b": 1e30}))
    before = {name: parameter.detach().clone() for name, parameter in run.parameters.items()}
    with pytest.raises(DataError, match="for b"):
        take_step(
            run.objective,
            [occurrences(run, "a"), occurrences(run, "b")],
            run.optimizer,
            run.parameters,
            OptimizerStep(0),
        )
    next(iter(run.parameters.values())).grad = torch.full((2, 32), float("inf"))
    with pytest.raises(DataError, match=r"gradients are not finite.*'a'"):
        update(
            run.optimizer,
            run.parameters,
            grad_norms(run.parameters),
            step=0,
            max_grad_norm=1.0,
            clip_ids=["a"],
        )
    assert all(torch.equal(parameter, before[name]) for name, parameter in run.parameters.items())


def test_dry_run_takes_the_largest_batch_and_leaves_nothing(run_of: Callable[..., Run]) -> None:
    run = run_of()
    assert [occurrence.sample.bucket for occurrence in largest_batch(run.objective, run.plan)] == ["64x64@9"] * 2
    before = {name: parameter.detach().clone() for name, parameter in run.parameters.items()}
    dry_run(run.objective, run.plan, run.parameters, EagerBackward(run.objective))
    assert all(parameter.grad is None for parameter in run.parameters.values())
    assert all(torch.equal(parameter, before[name]) for name, parameter in run.parameters.items())
    assert not run.optimizer.state()


def test_full_device_says_what_to_change() -> None:
    with pytest.raises(OutOfMemory, match="activation_checkpointing"), out_of_memory_errors("training"):
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_eval_loss_is_the_same_whenever_measured_and_for_an_idle_lora(run_of: Callable[..., Run]) -> None:
    run = run_of()
    for name, parameter in run.parameters.items():
        if "lora_B" in name:
            parameter.data.zero_()
    found = [eval_loss(run.objective, run.held_out, Silent()) for _ in range(2)]
    with without_lora(run.objective.transformer):
        found.append(eval_loss(run.objective, run.held_out, Silent()))
    assert found[0] is not None
    assert found[0] == found[1] == found[2]
    one = eval_loss(run.objective, [s for s in run.held_out if s.has_audio_loss], Silent())
    assert one is not None
    assert one.audio == found[0].audio  # the clip without sound has no part in it
    assert one.video != found[0].video


def test_eval_clips_are_chosen_by_hash(clip: Any) -> None:
    clips = [clip(f"c{i}", split="eval") for i in range(9)] + [clip("train")]
    chosen = eval_clips(clips, 4, seed=0)
    assert chosen == eval_clips(list(reversed(clips)), 4, seed=0)
    assert len(chosen) == 4
    assert {c.split for c in chosen} == {"eval"}
    assert chosen != eval_clips(clips, 4, seed=1)


@pytest.mark.parametrize("changes", [{"first_frame_probability": 0.01}, {"prefix_probability": 0.01}])
def test_dry_run_has_timesteps_by_token_if_any_occurrence_will(
    changes: dict[str, float], run_of: Callable[..., Run]
) -> None:
    """They cost memory at the few occurrences that have them; the first occurrences need not be among those."""
    run = run_of(**changes)
    with watched(run.objective.transformer) as seen:
        dry_run(run.objective, run.plan, run.parameters, EagerBackward(run.objective))
    assert [inputs["timestep"].ndim for inputs in seen] == [2]
    assert run.objective.settings.first_frame_probability == changes.get("first_frame_probability", 0.0)
