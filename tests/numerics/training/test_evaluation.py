"""The eval loss is the loss that is trained: what is given, what counts and how much."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters
from torch.compiler import set_stance

from ltx_core.progress import Silent
from ltx_core.training.config import TrainSettings
from ltx_core.training.draws import eval_draw
from ltx_core.training.evaluation import EvalLoss, eval_loss
from ltx_core.training.loop import Run
from ltx_core.training.metrics import History
from ltx_core.training.run import TrainJob, prepare
from ltx_core.training.step import OptimizerStep, backward_step, step_batches, take_step
from tests.forwards import watched

pytestmark = pytest.mark.numerics
JobOf = Callable[..., TrainJob]
MIXTURE: dict[str, Any] = {
    "first_frame_probability": 0.4,
    "prefix_probability": 0.3,
    "prefix_latent_frames": 1,
    "audio_conditioning_probability": 0.5,
}


@pytest.fixture
def run_of(job_of: JobOf, source_of: Any, clip: Any, tmp_path: Path) -> Callable[..., Run]:
    """A run with held-out clips of every kind."""

    def make(**changes: Any) -> Run:
        names = ("held", "held too", "silent held", "mute held")
        clips = [clip("a"), *(clip(name, split="eval") for name in names)]
        return prepare(job_of(tmp_path, source_of(clips), **changes), tmp_path, "digest", History(), Silent())

    return make


def measured(run: Run) -> EvalLoss:
    found = eval_loss(run.objective, run.held_out, Silent())
    assert found is not None
    return found


def test_sound_that_is_always_given_is_given_and_has_no_loss(run_of: Callable[..., Run]) -> None:
    run = run_of(audio_conditioning_probability=1.0, eval_sigmas=3)
    with watched(run.objective.transformer) as seen:
        found = measured(run)
    sounding = [inputs for inputs in seen if inputs["audio_hidden_states"].shape[1] > 1]
    assert len(sounding) == 3 * 3
    assert all(inputs["audio_sigma"].item() == 0 for inputs in sounding)
    assert found.audio is None
    assert found.total == found.video
    assert set(found.modes) == {"video/nothing_and_sound", "video/nothing"}  # the clip without sound is given none
    assert "eval/loss_audio" not in found.values()


def test_a_video_that_is_always_given_is_given_and_has_no_loss(run_of: Callable[..., Run]) -> None:
    """But of clips without audio to learn, whose video is all there is; a step's losses are of the same kinds."""
    run = run_of(video_conditioning_probability=1.0, eval_sigmas=3)
    sounding = [clip for clip in run.held_out if clip.has_audio_loss]
    with watched(run.objective.transformer) as seen:
        found = eval_loss(run.objective, sounding, Silent())
    assert all(inputs["sigma"].item() == 0 for inputs in seen)
    assert found is not None
    assert (found.video, found.total, set(found.modes)) == (None, found.audio, {"audio/video"})
    assert set(found.values()) == {"eval/loss", "eval/loss_audio", "eval/loss_audio/video"}
    assert set(measured(run).modes) == {"audio/video", "video/nothing"}
    batches = step_batches(run.plan, 0, 2)
    record, _ = take_step(run.objective, batches, run.optimizer, run.parameters, OptimizerStep(0))
    assert {loss.modality for loss in record.losses} == {"audio"}
    assert all(norm > 0 for norm in record.grad_norms.values()), "the video's layers learn what the audio needs of them"


def test_a_first_frame_that_is_always_given_carries_no_loss(run_of: Callable[..., Run]) -> None:
    run = run_of(first_frame_probability=1.0)
    for clip in run.held_out:
        assert run.objective.eval_batch(clip, 0.5).video.weight.tolist() == [[0, 0, 1, 1]]
    assert "video/first_frame" in measured(run).modes


def test_the_sound_weighs_as_in_training_and_what_carries_no_loss_does_not(run_of: Callable[..., Run]) -> None:
    once, thrice = (measured(run_of(audio_loss_weight=weight)) for weight in (1.0, 3.0))
    assert once.audio is not None
    assert once.video is not None
    assert (once.video, once.audio) == (thrice.video, thrice.audio)
    assert once.total == pytest.approx(once.video + once.audio)
    assert thrice.total == pytest.approx(once.video + 3 * once.audio)
    run = run_of()
    alone = eval_loss(run.objective, [clip for clip in run.held_out if clip.has_audio_loss], Silent())
    assert alone is not None
    assert alone.audio == once.audio
    assert not once.modes
    assert once.values() == {"eval/loss": once.total, "eval/loss_video": once.video, "eval/loss_audio": once.audio}


def test_modes_are_drawn_by_their_probabilities_alike_at_every_eval(
    run_of: Callable[..., Run], clip: Callable[..., Any]
) -> None:
    settings = TrainSettings(**MIXTURE)
    drawn = [eval_draw(clip(f"c{n}"), 0.5, settings) for n in range(1000)]
    for name, share in (("first_frame", 0.4), ("prefix", 0.3)):
        assert sum(draw.has(name) for draw in drawn) / 1000 == pytest.approx(share, abs=0.05)
    assert sum(draw.has("audio") for draw in drawn) / 1000 == pytest.approx(0.5, abs=0.05)
    run = run_of(**MIXTURE, eval_sigmas=8)
    first, second = measured(run), measured(run)
    assert first == second
    assert {name.partition("/")[2].removesuffix("_and_sound") for name in first.modes} == {
        "first_frame",
        "prefix",
        "nothing",
    }
    assert {f"eval/loss_{name}" for name in first.modes} < first.values().keys()
    assert all(torch.tensor(value).isfinite() for value in first.modes.values())
    assert measured(run_of(**MIXTURE | {"audio_conditioning_probability": 0.0}, eval_sigmas=8)) != first


@pytest.mark.extra
def test_compiled_blocks_measure_what_uncompiled_ones_do(
    job_of: JobOf, source_of: Any, clip: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The functions that training has compiled serve the eval too, where its clips come as those of training do."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    torch._dynamo.reset()
    source = source_of([clip("a"), clip("held", split="eval")])

    def run(**changes: Any) -> Run:
        options = {"batch_size": 1, "gradient_accumulation_steps": 1, "first_frame_probability": 0.0} | changes
        return prepare(job_of(tmp_path, source, **options), tmp_path, "digest", History(), Silent())

    compiled = run(compile_blocks="on")
    expected = measured(run())
    backward_step(compiled.objective, [compiled.plan.batch(0)])
    before = counters["stats"]["unique_graphs"]
    assert before > 0
    with set_stance("fail_on_recompile"):
        found = measured(compiled)
    assert found.total == pytest.approx(expected.total, rel=1e-5)
    assert compiled.objective.runs_as_in_training(compiled.held_out)
    larger = replace(compiled.held_out[0], bucket="64x64@9")
    assert not compiled.objective.runs_as_in_training([larger])
    assert not run(batch_size=2).objective.runs_as_in_training(compiled.held_out)
    assert not run(dropout=0.1).objective.runs_as_in_training(compiled.held_out)
    torch._dynamo.reset()
