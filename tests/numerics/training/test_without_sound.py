"""Clips without sound train the picture, exactly as if there were no audio; nothing stands in for what is not there."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.adapters.lora import without_lora
from ltx_core.adapters.lora_layout import stream_of
from ltx_core.checkpoint.layouts import open_combined
from ltx_core.checkpoint.load import load_transformer
from ltx_core.denoiser.forward import denoise
from ltx_core.errors import ConfigError
from ltx_core.io.tensors import read_tensors
from ltx_core.progress import Silent
from ltx_core.training.batch import NoisyStream, TrainBatch
from ltx_core.training.config import TrainSettings
from ltx_core.training.evaluation import eval_loss
from ltx_core.training.loop import Run, train
from ltx_core.training.methods.crepa import PREFIX
from ltx_core.training.methods.method import BatchLosses
from ltx_core.training.metrics import History
from ltx_core.training.objective import Objective
from ltx_core.training.order import SampleOccurrence
from ltx_core.training.out_of_memory import largest_batch
from ltx_core.training.run import TrainJob, prepare, train_lora
from ltx_core.training.step import EagerBackward, OptimizerStep, backward_step, take_step
from tests.numerics.training.test_run import Listener

pytestmark = pytest.mark.numerics
JobOf = Callable[..., TrainJob]
GOLDEN = Path(__file__).parents[2] / "golden"
METHODS: dict[str, dict[str, Any]] = {
    "plain": {},
    "recomputed": {"activation_checkpointing": 1.0},
    "first frame": {"first_frame_probability": 1.0},
    "given sound": {"audio_conditioning_probability": 1.0},
    "routes": {"tread_routes": [{"selection_ratio": 0.5, "start_layer_idx": 0, "end_layer_idx": 0}]},
    "rolled out": {"rollout": {"probability": 1.0, "reflexflow": True}},
    "lokr": {"rank": 32, "lycoris": {"algo": "lokr", "linear_dim": 2, "linear_alpha": 2}},
}


@pytest.fixture
def run_of(job_of: JobOf, source_of: Any, clip: Any, tmp_path: Path) -> Callable[..., Run]:
    """A run on clips with and without sound that is ready, its adapter not zero."""

    def make(**changes: Any) -> Run:
        clips = [clip("a"), clip("b"), clip("mute"), clip("mute too"), clip("mute held", split="eval")]
        job = job_of(tmp_path, source_of(clips), **changes)
        run = prepare(job, tmp_path, "digest", History(), Silent())
        generator = torch.Generator().manual_seed(1)
        for parameter in run.parameters.values():
            if not bool(parameter.any()):  # with B = 0 no gradient would reach A
                parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
        return run

    return make


def occurrences(run: Run, *names: str) -> list[SampleOccurrence]:
    by_name = {sample.clip_id: sample for sample in run.plan.samples}
    return [SampleOccurrence(by_name[name], 0) for name in names]


def gradients(run: Run, *batches: list[SampleOccurrence], **changes: Any) -> dict[str, torch.Tensor]:
    backward_step(run.objective, batches, **changes)
    found = {name: p.grad.clone() for name, p in run.parameters.items() if p.grad is not None}
    for parameter in run.parameters.values():
        parameter.grad = None
    return found


def of_sound(named: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in named.items() if not name.startswith(PREFIX) and stream_of(name) != "video"}


class CompiledBackward(EagerBackward):
    """As compiled blocks do it: a weight that the loss does not reach gets zeros."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.objective)
        self._parameters = run.parameters

    def __call__(self, *arguments: Any) -> BatchLosses:
        losses = super().__call__(*arguments)
        for parameter in self._parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return losses


@pytest.mark.parametrize("method", METHODS)
def test_no_gradient_reaches_the_layers_of_sound(method: str, run_of: Callable[..., Run]) -> None:
    run = run_of(**METHODS[method])
    found = gradients(run, occurrences(run, "mute", "mute too"))
    assert any(bool(gradient.any()) for gradient in found.values())
    assert not of_sound(found)
    assert of_sound(gradients(run, occurrences(run, "a", "b")))


@pytest.mark.parametrize("backward", [EagerBackward, CompiledBackward])
def test_a_step_without_sound_leaves_those_layers_and_their_moments_alone(
    backward: Any, run_of: Callable[..., Run]
) -> None:
    run = run_of(weight_decay=0.5)
    how = backward(run if backward is CompiledBackward else run.objective)
    take_step(run.objective, [occurrences(run, "a")], run.optimizer, run.parameters, OptimizerStep(0), backward=how)
    before = {name: parameter.detach().clone() for name, parameter in run.parameters.items()}
    moments = {name: moment.clone() for name, moment in run.optimizer.state().items()}
    batches = [occurrences(run, "mute"), occurrences(run, "mute too")]
    record, num_tokens = take_step(
        run.objective, batches, run.optimizer, run.parameters, OptimizerStep(0), backward=how
    )
    assert set(record.grad_norms) == {"all", "video"}
    assert num_tokens == 2 * 4
    assert {loss.modality for loss in record.losses} == {"video"}
    for name, parameter in run.parameters.items():
        assert torch.equal(parameter, before[name]) == (name in of_sound(run.parameters)), name
    assert all(torch.equal(moment, moments[name]) for name, moment in of_sound(run.optimizer.state()).items())


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_bf16", "adamw8bit"])
def test_where_sound_alone_is_trained_a_step_without_it_changes_nothing(
    optimizer: str, run_of: Callable[..., Run]
) -> None:
    run = run_of(targets="audio", optimizer=optimizer)
    before = {name: parameter.detach().clone() for name, parameter in run.parameters.items()}
    record, _ = take_step(run.objective, [occurrences(run, "mute")], run.optimizer, run.parameters, OptimizerStep(0))
    assert record.grad_norms == {"all": 0.0}
    assert all(torch.equal(parameter, before[name]) for name, parameter in run.parameters.items())


def test_in_a_step_with_others_each_clip_weighs_the_same(run_of: Callable[..., Run]) -> None:
    run = run_of(audio_loss_weight=0.0)
    both = gradients(run, occurrences(run, "a", "b"), occurrences(run, "mute"))
    sounding, mute = gradients(run, occurrences(run, "a", "b")), gradients(run, occurrences(run, "mute"))
    for name, gradient in both.items():
        alone = mute.get(name, torch.zeros_like(gradient))
        assert torch.allclose(gradient, (2 * sounding[name] + alone) / 3, rtol=1e-3, atol=1e-6), name
    assert mute.keys() == gradients(run_of(modalities="video"), occurrences(run, "mute")).keys()


@pytest.mark.parametrize("generation", ["2.0", "2.3", "2.5"])
def test_the_picture_is_what_lightricks_computes_without_audio(generation: str) -> None:
    """The loss against their velocity is that of rounding; with a silence of zeros beside it, it is not."""
    golden = read_tensors(GOLDEN / generation / "transformer_video_only.safetensors")[0]
    opened = open_combined(GOLDEN / generation / "checkpoint.safetensors", components=("transformer",))
    transformer = load_transformer(opened, device="cpu", dtype=torch.float32)
    tokens = golden["video_latent"]
    keyframes = golden.get("video_keyframes_mask", torch.zeros(*tokens.shape[:2], 1))
    video = NoisyStream(
        noisy=tokens,
        target=golden["video_velocity"],
        weight=torch.ones(tokens.shape[:2]),
        sigma=golden["video_sigma"],
        timesteps=golden["video_timesteps"],
        positions=golden["video_positions"],
        keyframes=keyframes,
    )
    objective = Objective(transformer, None, None, TrainSettings(), "cpu")  # type: ignore[arg-type]  # streams are given
    width = transformer.config.audio_cross_attention_dim
    if transformer.config.use_prompt_embeddings:
        width = transformer.config.caption_channels
    contexts = golden["video_context"], torch.ones(1, 3, width)
    with torch.no_grad():
        alone = objective.losses_of(video, None, contexts)
        num_audio = 9
        zeros = torch.zeros(1, num_audio, transformer.config.audio_in_channels)
        silence = NoisyStream(
            noisy=zeros,
            target=zeros,
            weight=torch.zeros(1, num_audio),
            sigma=golden["video_sigma"],
            timesteps=golden["video_sigma"],
            positions=torch.arange(2 * num_audio).float().reshape(1, 1, num_audio, 2) / 50,
        )
        beside_silence = objective.losses_of(video, silence, contexts)
    assert alone.audio is None
    assert alone.video.item() < 1e-9
    assert beside_silence.video.item() > 1e-6


def test_a_run_without_any_sound_is_a_run_of_the_picture_and_says_so(
    job_of: JobOf, source_of: Any, clip: Any, tmp_path: Path
) -> None:
    clips = [clip("mute"), clip("mute too"), clip("held", split="eval")]
    listener = Listener()
    given = {"audio_conditioning_probability": 0.5, "audio_loss_weight": 2.0, "targets": "audio+video", "audio_rank": 1}
    result = train_lora(job_of(tmp_path / "became", source_of(clips), steps=2, **given), listener)
    (note,) = (note for note in listener.notes if "no clip that is trained on has audio" in note)
    assert (
        "modalities video, audio_loss_weight 1.0, audio_conditioning_probability 0.0, audio_rank None, targets video"
        in note
    )
    tensors, header = read_tensors(result.lora_path)
    assert not any("audio" in name for name in tensors)
    assert json.loads(header["ltx2.settings"])["modalities"] == "video"
    asked = job_of(tmp_path / "asked", source_of(clips), steps=2, modalities="video", targets="video")
    assert train_lora(asked, Silent()).lora_path.read_bytes() == result.lora_path.read_bytes()
    with pytest.raises(ConfigError, match="targets is 'audio' and no clip has audio"):
        train_lora(job_of(tmp_path / "sound", source_of(clips), targets="audio"), Silent())


def test_sound_that_is_never_trained_on_stays_the_bases(run_of: Callable[..., Run]) -> None:
    """Clips with sound come later than this run goes: its sound is the base's to the bit."""
    run = run_of(steps=4, gradient_accumulation_steps=1, weight_decay=0.5)
    mute = [occurrences(run, "mute", "mute too")] * 4
    for number, parameter in enumerate(run.parameters.values()):
        if number % 2:
            parameter.data.zero_()  # B, as a run begins
    before = {name: parameter.detach().clone() for name, parameter in of_sound(run.parameters).items()}
    for batch in mute:
        take_step(run.objective, [batch], run.optimizer, run.parameters, OptimizerStep(0))
    assert all(torch.equal(parameter, before[name]) for name, parameter in of_sound(run.parameters).items())
    heard = run.objective.train_batch(occurrences(run, "a"))
    alone = audio_alone(run, heard)
    with without_lora(run.objective.transformer):
        assert torch.equal(audio_alone(run, heard), alone)


def audio_alone(run: Run, batch: TrainBatch) -> torch.Tensor:
    """The velocity of a batch's sound, isolated from the picture, whose layers have learnt."""
    from ltx_core.training.objective import _stream

    assert batch.audio is not None
    contexts = run.objective.contexts(batch.captions, "cpu")
    with torch.no_grad():
        _, velocity = denoise(run.objective.transformer, None, _stream(batch.audio, contexts[1]))
    assert velocity is not None
    return velocity


def test_a_mixed_run_learns_from_both_and_measures_both(run_of: Callable[..., Run]) -> None:
    run = run_of(gradient_accumulation_steps=1)
    assert [occurrence.sample.has_sound for occurrence in largest_batch(run.objective, run.plan)] == [True, True]
    train(run, 0)
    seen = eval_loss(run.objective, run.held_out, Silent())
    assert seen is not None
    assert seen.audio is None
    assert any(row.name == "loss/audio" for row in run.history.rows)
