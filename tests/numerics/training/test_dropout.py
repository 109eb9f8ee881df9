"""LoRA dropout in training: the same masks whatever happens to a run, and the effect that it is for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.progress import Silent
from ltx_core.training import step as backward
from ltx_core.training.loop import Run
from ltx_core.training.methods.dropout import KEY
from ltx_core.training.metrics import History
from ltx_core.training.order import SampleOccurrence
from ltx_core.training.run import TrainJob, prepare, train_lora
from ltx_core.training.step import Backward, EagerBackward, GraphedBackward, backward_step

pytestmark = pytest.mark.numerics
JobOf = Callable[..., TrainJob]
ATTENTION = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "audio_attn1.to_v")


def run_of(job_of: JobOf, folder: Path, **changes: Any) -> Run:
    """With a B that is not zero, so that every mask counts."""
    settings = {"dropout": 0.5, "targets": ATTENTION} | changes
    run = prepare(job_of(folder, **settings), folder, "digest", History(), Silent())
    for parameter in run.parameters.values():
        parameter.data += 0.05
    return run


def occurrences(run: Run, *names: str, number: int = 0) -> tuple[SampleOccurrence, ...]:
    samples = {sample.clip_id: sample for sample in run.plan.samples}
    return tuple(SampleOccurrence(samples[name], number) for name in names)


def gradients(
    run: Run, batches: list[tuple[SampleOccurrence, ...]], way: Backward | None = None
) -> dict[str, torch.Tensor]:
    for parameter in run.parameters.values():
        parameter.grad = None
    backward_step(run.objective, batches, backward=way)
    return {name: p.grad.clone() for name, p in run.parameters.items() if p.grad is not None}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_masks_belong_to_occurrences(job_of: JobOf, tmp_path: Path) -> None:
    run, plain = run_of(job_of, tmp_path / "a"), run_of(job_of, tmp_path / "b", dropout=0.0)
    clips = occurrences(run, "large", "large2")
    found = gradients(run, [clips])
    assert same(found, gradients(run, [clips]))
    assert not same(found, gradients(plain, [clips]))
    torch.testing.assert_close(found, gradients(run, [clips[:1], clips[1:]]), rtol=1e-4, atol=1e-7)
    keys = [run.objective.train_batch(occurrences(run, "a", "b", number=number)).extras[KEY] for number in (0, 1)]
    assert len({int(key) for both in keys for key in both}) == 4


def test_recompute_and_graphs_see_the_same_masks(
    job_of: JobOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backward, "StepGraphs", lambda work, *_: work)  # the real one wants a GPU
    run, again = run_of(job_of, tmp_path / "a"), run_of(job_of, tmp_path / "b", activation_checkpointing=1.0)
    clips = occurrences(run, "large", "large2")
    wanted = gradients(run, [clips], EagerBackward(run.objective))
    assert same(gradients(again, [clips]), wanted)
    graphed = GraphedBackward(run.objective, [])
    torch.testing.assert_close(gradients(run, [clips], graphed), wanted)
    assert not same(gradients(run, [occurrences(run, "large", "large2", number=1)], graphed), wanted)


def test_blocks_are_traced_whole_and_once(job_of: JobOf, tmp_path: Path) -> None:
    """As for compiling, without the compiler: keys are inputs, not constants of the graph."""
    plain, fused = (run_of(job_of, tmp_path / way, compile_blocks=way) for way in ("off", "on"))
    forms: list[int] = []

    def count(graph: Any, _inputs: Any) -> Any:
        forms.append(1)
        return graph.forward

    first, second = fused.objective.transformer.transformer_blocks
    first._compiled_call_impl = None
    second.compile(fullgraph=True, backend=count)
    for number in range(2):
        clips = occurrences(plain, "large", "large2", number=number)
        torch.testing.assert_close(gradients(fused, [clips]), gradients(plain, [clips]), rtol=1e-4, atol=1e-6)
    assert len(forms) == 1


def test_training_gets_harder_by_it(job_of: JobOf, tmp_path: Path) -> None:
    """What it is for: a loss in training that falls less far. Eval loss, on held-out clips, may go either way here."""
    asked: dict[str, Any] = {"steps": 12, "learning_rate": 4e-2, "targets": ("attn1.to_out.0",)}
    asked |= {"checkpoint_interval": 12, "eval_interval": 12, "log_interval": 12, "gradient_accumulation_steps": 1}
    losses = []
    for dropout in (0.0, 0.8):
        result = train_lora(job_of(tmp_path / str(dropout), **asked, dropout=dropout), Silent())
        losses.append(next(m.value for m in result.metrics if m.name == "loss"))
    assert losses[1] > 1.01 * losses[0]
