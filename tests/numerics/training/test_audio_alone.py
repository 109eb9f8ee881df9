"""Audio without video is trained, exactly as if there were no video; nothing stands in for what is not there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.adapters.lora_layout import stream_of, strip_prefix
from ltx_core.io.tensors import read_tensors
from ltx_core.progress import Silent
from ltx_core.training.loop import Run
from ltx_core.training.metrics import History
from ltx_core.training.order import SampleOccurrence
from ltx_core.training.run import TrainJob, prepare, train_lora
from ltx_core.training.step import OptimizerStep, take_step
from tests.numerics.training.conftest import ALONE
from tests.numerics.training.test_run import Listener
from tests.numerics.training.test_without_sound import CompiledBackward, gradients, occurrences

pytestmark = pytest.mark.numerics
JobOf = Callable[..., TrainJob]
METHODS: dict[str, dict[str, Any]] = {
    "routes and a first frame": {
        "tread_routes": [{"selection_ratio": 0.5, "start_layer_idx": 0, "end_layer_idx": 0}],
        "first_frame_probability": 1.0,
    },
    "rolled out": {"rollout": {"probability": 1.0, "reflexflow": True}},
}


@pytest.fixture
def run_of(job_of: JobOf, source_of: Any, clip: Any, tmp_path: Path) -> Callable[..., Run]:
    """A run on videos with sound and on audio alone, its adapter not zero."""

    def make(**changes: Any) -> Run:
        clips = [clip("a"), clip("b"), *(clip(name, ALONE) for name in ("song", "speech"))]
        run = prepare(job_of(tmp_path, source_of(clips), **changes), tmp_path, "digest", History(), Silent())
        generator = torch.Generator().manual_seed(1)
        for parameter in run.parameters.values():
            if not bool(parameter.any()):  # with B = 0 no gradient would reach A
                parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
        return run

    return make


@pytest.mark.parametrize("method", METHODS)
def test_no_gradient_reaches_the_layers_of_the_video(method: str, run_of: Callable[..., Run]) -> None:
    run = run_of(**METHODS[method])
    alone = gradients(run, occurrences(run, "song", "speech"))
    assert {stream_of(name) for name in alone} == {"audio"}
    assert all(bool(gradient.isfinite().all()) for gradient in alone.values())
    mixed = gradients(run, occurrences(run, "song"), occurrences(run, "a", "b"))
    assert {stream_of(name) for name in mixed} == {"video", "audio", "cross"}
    assert all(bool(gradient.isfinite().all()) for gradient in mixed.values())


def test_a_step_of_audio_alone_leaves_other_layers_and_their_moments_alone(run_of: Callable[..., Run]) -> None:
    """Where compiled blocks give zeros for them."""
    run = run_of(weight_decay=0.5)
    take_step(run.objective, [occurrences(run, "a")], run.optimizer, run.parameters, OptimizerStep(0))
    before = {name: parameter.detach().clone() for name, parameter in run.parameters.items()}
    how: Any = CompiledBackward(run)
    batches = [occurrences(run, "song"), occurrences(run, "speech")]
    record, num_tokens = take_step(
        run.objective,
        batches,
        run.optimizer,
        run.parameters,
        OptimizerStep(0),
        backward=how,
    )
    assert (set(record.grad_norms), num_tokens) == ({"all", "audio"}, 2 * 9)
    assert {loss.modality for loss in record.losses} == {"audio"}
    for name, parameter in run.parameters.items():
        assert torch.equal(parameter, before[name]) == (stream_of(name) != "audio"), name


def test_videos_whose_video_is_not_trained_teach_as_audio_alone(
    job_of: JobOf, source_of: Any, clip: Any, tmp_path: Path
) -> None:
    """The same audio of a video with `modalities: audio`, and as a file of audio."""
    found = []
    for folder, clips in (("video", [clip("a"), clip("held", split="eval")]), ("alone", [clip("a", ALONE)])):
        source = source_of(clips)
        job = job_of(tmp_path / folder, source, modalities="audio", independent_sigmas=False)
        run = prepare(job, tmp_path / folder, "digest", History(), Silent())
        run.parameters["transformer_blocks.0.audio_attn1.to_q.lora_B.weight"].data.fill_(0.1)
        if folder == "alone":  # the same numbers follow the video's in its generator
            source.load = source_of([clip("a")]).load
        found.append(gradients(run, [SampleOccurrence(run.plan.samples[0], 0)]))
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_a_run_of_audio_alone_learns_it_and_says_so(job_of: JobOf, source_of: Any, clip: Any, tmp_path: Path) -> None:
    clips = [clip("a", ALONE), clip("b", ALONE), clip("silent", ALONE), clip("held", ALONE, split="eval")]
    listener = Listener()
    result = train_lora(job_of(tmp_path, source_of(clips), steps=12, targets=("audio", "audio_ff")), listener)
    assert any("no clip that is trained on has video" in note for note in listener.notes)
    assert result.base_eval_loss is not None
    assert result.eval_loss is not None
    assert result.eval_loss < 0.97 * result.base_eval_loss
    tensors, _ = read_tensors(result.lora_path)
    assert {stream_of(strip_prefix(name)) for name in tensors} == {"audio"}
    assert {row.name for row in result.metrics if row.name.startswith("eval/")} == {"eval/loss", "eval/loss_audio"}
