"""The Euler loop over a tiny transformer of the real class."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel
from peft import LoraConfig
from safetensors.torch import save_file

from ltx_core.conditioning.kinds import FirstFrame, WholeAudio
from ltx_core.conditioning.whole_video import WholeVideo
from ltx_core.denoiser.forward import denoise
from ltx_core.denoiser.tokens import pack_video
from ltx_core.errors import CheckpointError, ConfigError, DataError, ShapeError, Stopped
from ltx_core.progress import Silent
from ltx_core.sampling.decoding import SampledLatents, load_latents, save_latents
from ltx_core.sampling.guidance import Guidance, StreamGuidance
from ltx_core.sampling.request import RenderRequest
from ltx_core.sampling.sampler import Prompts, Walk, initial_state, sample
from ltx_core.shapes import LatentShape
from tests.forwards import watched

Make = Callable[..., RenderRequest]
EVERYTHING = Guidance(
    video=StreamGuidance(cfg=3, stg=1, modality=3, rescale=0.7),
    audio=StreamGuidance(cfg=7, stg=1, modality=3, rescale=0.7),
    stg_blocks=(1,),
)


def same(one: SampledLatents, other: SampledLatents) -> bool:
    return torch.equal(one.video, other.video) and torch.equal(one.audio, other.audio)


def count_forwards(transformer: torch.nn.Module) -> list[int]:
    calls: list[int] = []
    transformer.proj_out.register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_shapes_and_finite(transformer: LTX2VideoTransformer3DModel, both_prompts: Prompts, request_of: Make) -> None:
    latents = sample(transformer, both_prompts, request_of(guidance=EVERYTHING), Silent())
    assert latents.video.shape == (4, 2, 1, 2)
    assert latents.audio.shape == (9, 8)
    assert latents.video.dtype == latents.audio.dtype == torch.float32
    assert latents.video.isfinite().all()
    assert latents.audio.isfinite().all()


@pytest.mark.parametrize(
    ("guidance", "forwards"),
    [
        (Guidance(), 1),
        (Guidance(audio=StreamGuidance(cfg=2)), 2),
        (Guidance(video=StreamGuidance(modality=2)), 2),
        (EVERYTHING, 4),
    ],
)
def test_runs_only_the_forwards_that_are_needed(
    transformer: LTX2VideoTransformer3DModel,
    prompts: Prompts,
    both_prompts: Prompts,
    request_of: Make,
    guidance: Guidance,
    forwards: int,
) -> None:
    request = request_of(guidance=guidance, num_steps=3)
    calls = count_forwards(transformer)
    sample(transformer, both_prompts if request.needs_negative else prompts, request, Silent())
    assert len(calls) == 3 * forwards


@pytest.mark.parametrize("mode", ["t2v", "i2v"])
def test_two_passes_in_one_forward_give_what_each_gives(
    transformer: LTX2VideoTransformer3DModel, both_prompts: Prompts, request_of: Make, mode: str
) -> None:
    """But for rounding; and the two that have other blocks go their own way."""
    frame = [FirstFrame(torch.ones(4, 1, 1, 2))] if mode == "i2v" else []
    request = request_of(guidance=EVERYTHING, mode=mode, conditioning_key="x" if frame else None)
    calls = count_forwards(transformer)
    one, other = (
        sample(transformer, both_prompts, request, Silent(), conditionings=frame, together=together)
        for together in (False, True)
    )
    assert len(calls) == 2 * 4 + 2 * 3
    assert torch.allclose(one.video, other.video, atol=1e-5)
    assert torch.allclose(one.audio, other.audio, atol=1e-5)
    alone = sample(transformer, Prompts(both_prompts.positive), request_of(), Silent(), together=True)
    assert same(alone, sample(transformer, Prompts(both_prompts.positive), request_of(), Silent()))


def test_each_scale_changes_the_result(
    transformer: LTX2VideoTransformer3DModel, prompts: Prompts, both_prompts: Prompts, request_of: Make
) -> None:
    plain = sample(transformer, prompts, request_of(), Silent())
    for scales, blocks in (({"cfg": 3.0}, ()), ({"modality": 3.0}, ()), ({"stg": 1.0}, (1,))):
        request = request_of(guidance=Guidance(video=StreamGuidance(**scales), stg_blocks=blocks))
        guided = sample(transformer, both_prompts if request.needs_negative else prompts, request, Silent())
        assert not torch.allclose(guided.video, plain.video, atol=1e-5), scales


def test_same_seed_same_bytes(transformer: LTX2VideoTransformer3DModel, prompts: Prompts, request_of: Make) -> None:
    first = sample(transformer, prompts, request_of(), Silent())
    torch.randn(3)  # the global generator has no say
    assert same(first, sample(transformer, prompts, request_of(), Silent()))
    assert not same(first, sample(transformer, prompts, request_of(seed=8), Silent()))


def first_inputs(transformer: LTX2VideoTransformer3DModel, prompts: Prompts, request: RenderRequest) -> torch.Tensor:
    """What the transformer is shown first: video and audio tokens, flattened."""
    with watched(transformer) as seen:
        sample(transformer, prompts, request, Silent())
    return torch.cat([seen[0]["hidden_states"].flatten(), seen[0]["audio_hidden_states"].flatten()])


def test_base_and_lora_start_from_the_same_noise(
    build: Callable[[], LTX2VideoTransformer3DModel], prompts: Prompts, request_of: Make
) -> None:
    base, tuned = build(), build()
    tuned.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    assert torch.equal(first_inputs(base, prompts, request_of()), first_inputs(tuned, prompts, request_of()))
    renders = [sample(model, prompts, request_of(), Silent()) for model in (base, tuned)]
    assert not same(*renders)


def test_audio_noise_does_not_depend_on_the_picture() -> None:
    small, large = (initial_state(3, LatentShape(2, 1, width), 4, 9, 8) for width in (2, 5))
    assert torch.equal(small.audio.tokens, large.audio.tokens)
    assert not torch.equal(small.video.tokens.mT.flatten(), small.audio.tokens.flatten()[:16])
    assert abs(float(initial_state(3, LatentShape(4, 8, 8), 4, 9, 8).video.tokens.std()) - 1) < 0.1


def test_steps_equal_euler_written_out(
    transformer: LTX2VideoTransformer3DModel, prompts: Prompts, request_of: Make
) -> None:
    """One step by hand: x + (next - sigma) v, with the velocity that the transformer gives for x."""
    request = request_of()
    state = initial_state(request.seed, request.grid, 4, request.audio_tokens, 8)
    walk = Walk(transformer, prompts, Guidance(), request.frame_rate)
    velocities = denoise(transformer, *walk.streams(prompts.positive.apply(state), 0.8))
    moved = walk.step(state, 0.8, 0.5)
    for before, after, velocity in zip((state.video, state.audio), (moved.video, moved.audio), velocities, strict=True):
        assert velocity is not None
        assert torch.allclose(after.tokens, before.tokens - 0.3 * velocity, atol=1e-6)


def test_first_frame_stays_as_given(
    transformer: LTX2VideoTransformer3DModel, both_prompts: Prompts, request_of: Make
) -> None:
    frame = torch.randn(4, 1, 1, 2, generator=torch.Generator().manual_seed(5))
    request = request_of(mode="i2v", conditioning_key="x", guidance=EVERYTHING)
    latents = sample(transformer, both_prompts, request, Silent(), conditionings=[FirstFrame(frame)])
    free = sample(transformer, both_prompts, request_of(guidance=EVERYTHING), Silent())
    assert torch.equal(latents.video[:, :1], frame)
    assert not torch.allclose(latents.video[:, 1:], free.video[:, 1:], atol=1e-4)


def test_known_sound_stays_as_given_at_sigma_zero(
    transformer: LTX2VideoTransformer3DModel, prompts: Prompts, request_of: Make
) -> None:
    tokens = torch.randn(9, 8, generator=torch.Generator().manual_seed(5))
    request = request_of(mode="s2v", conditioning_key="x")
    with watched(transformer) as seen:
        latents = sample(transformer, prompts, request, Silent(), conditionings=[WholeAudio(tokens)])
    assert torch.equal(latents.audio, tokens)
    assert all(not call["audio_sigma"].any() and not call["audio_timestep"].any() for call in seen)
    assert all(call["sigma"].all() for call in seen)


def test_a_known_video_stays_as_given_at_sigma_zero(
    transformer: LTX2VideoTransformer3DModel, prompts: Prompts, request_of: Make
) -> None:
    latent = torch.randn(4, 2, 1, 2, generator=torch.Generator().manual_seed(5))
    request = request_of(mode="v2a", conditioning_key="x")
    with watched(transformer) as seen:
        latents = sample(transformer, prompts, request, Silent(), conditionings=[WholeVideo(latent)])
    assert torch.equal(latents.video, latent)
    assert all(not call["sigma"].any() and not call["timestep"].any() for call in seen)
    assert all(call["audio_sigma"].all() for call in seen)
    other = sample(transformer, prompts, request, Silent(), conditionings=[WholeVideo(-latent)])
    assert not torch.allclose(other.audio, latents.audio, atol=1e-4), "the audio follows the video"
    with pytest.raises(ShapeError, match="latent of the video to condition on is"):
        sample(transformer, prompts, request, Silent(), conditionings=[WholeVideo(latent[:, :1])])


def test_audio_alone_is_made_without_a_video(
    transformer: LTX2VideoTransformer3DModel, both_prompts: Prompts, request_of: Make
) -> None:
    """One forward of each pass that the audio needs, the noise that it has beside a video too, and no video."""
    asked = request_of(
        guidance=Guidance(video=StreamGuidance(cfg=2), audio=StreamGuidance(cfg=3, modality=2, rescale=0.7))
    )
    request = asked.of_audio()
    assert request.guidance.passes() == ("conditional", "unconditional")
    assert request.key({}) != asked.key({})
    with watched(transformer) as seen:
        made = sample(transformer, both_prompts, request, Silent())
    assert len(seen) == 2 * request.num_steps
    assert all(call["hidden_states"].shape[1] == 1 for call in seen), "a token stands in"
    assert made.video.numel() == 0
    assert made.audio.shape == (9, 8)
    together = sample(transformer, both_prompts, request, Silent(), together=True)
    torch.testing.assert_close(together.audio, made.audio)


def test_first_frame_tokens_are_at_timestep_zero(
    transformer: LTX2VideoTransformer3DModel, prompts: Prompts, request_of: Make
) -> None:
    request = request_of(mode="i2v", conditioning_key="x")
    with watched(transformer) as seen:
        sample(transformer, prompts, request, Silent(), conditionings=[FirstFrame(torch.zeros(4, 1, 1, 2))])
    times = seen[1]["timestep"]
    assert times.shape == (1, 4)
    assert not times[:, :2].any()
    assert torch.allclose(times[:, 2:], torch.tensor(100.0), atol=1e-3)


def test_refuses_conditionings_that_do_not_fit(
    transformer: LTX2VideoTransformer3DModel, prompts: Prompts, request_of: Make
) -> None:
    frame = FirstFrame(torch.zeros(4, 1, 3, 3))
    with pytest.raises(ConfigError, match="'t2v' was given"):
        sample(transformer, prompts, request_of(), Silent(), conditionings=[frame])
    image, sound = (request_of(mode=mode, conditioning_key="x") for mode in ("i2v", "s2v"))
    with pytest.raises(ConfigError, match="takes \\['FirstFrame'\\]"):
        sample(transformer, prompts, image, Silent())
    with pytest.raises(ShapeError, match="first frame latent"):
        sample(transformer, prompts, image, Silent(), conditionings=[frame])
    with pytest.raises(ShapeError, match="audio is"):
        sample(transformer, prompts, sound, Silent(), conditionings=[WholeAudio(torch.zeros(10, 8))])


def test_refuses_negative_text_that_is_missing_or_unused(
    transformer: LTX2VideoTransformer3DModel, prompts: Prompts, both_prompts: Prompts, request_of: Make
) -> None:
    with pytest.raises(ConfigError, match="missing"):
        sample(transformer, prompts, request_of(guidance=EVERYTHING), Silent())
    with pytest.raises(ConfigError, match="given"):
        sample(transformer, both_prompts, request_of(), Silent())


class Listener:
    """Keeps what it is told, and asks to stop after a number of steps."""

    def __init__(self, stop_after: int) -> None:
        self.told: list[tuple[int, int, str]] = []
        self.stop_after = stop_after

    @property
    def stopping(self) -> bool:
        return len(self.told) >= self.stop_after

    def advance(self, done: int, total: int, unit: str) -> None:
        self.told.append((done, total, unit))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        return

    def note(self, message: str) -> None:
        return


def test_tells_of_each_step_and_stops_between_steps(
    transformer: LTX2VideoTransformer3DModel, prompts: Prompts, request_of: Make
) -> None:
    patient, hasty = Listener(99), Listener(1)
    sample(transformer, prompts, request_of(), patient)
    assert patient.told == [(1, 2, "steps"), (2, 2, "steps")]
    with pytest.raises(Stopped, match="step 2 of 2"):
        sample(transformer, prompts, request_of(), hasty)


def test_no_dropout_and_mode_restored(
    build: Callable[[], LTX2VideoTransformer3DModel], prompts: Prompts, request_of: Make
) -> None:
    transformer = build()
    config = LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False, lora_dropout=0.5)
    transformer.add_adapter(config)
    evaluated = sample(transformer.eval(), prompts, request_of(), Silent())
    assert same(evaluated, sample(transformer.train(), prompts, request_of(), Silent()))
    assert transformer.training


def test_broken_weights_are_named(transformer: LTX2VideoTransformer3DModel, prompts: Prompts, request_of: Make) -> None:
    transformer.proj_out.weight.fill_(float("nan"))
    with pytest.raises(DataError, match="video latents are not finite"):
        sample(transformer, prompts, request_of(), Silent())


def test_latents_survive_the_disk(tmp_path: Path) -> None:
    latents = SampledLatents(torch.randn(4, 2, 1, 2), torch.randn(9, 8))
    save_latents(tmp_path / "a" / "x.safetensors", latents)
    assert same(load_latents(tmp_path / "a" / "x.safetensors"), latents)
    save_latents(tmp_path / "y.safetensors", latents)
    assert (tmp_path / "y.safetensors").read_bytes() == (tmp_path / "a" / "x.safetensors").read_bytes()


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "torn").write_bytes(b"no")
    save_file({"weight": torch.zeros(1)}, tmp_path / "lora")
    cases = (("torn", CheckpointError, "does not start like a safetensors file"), ("lora", DataError, "weight"))
    for name, error, message in cases:
        with pytest.raises(error, match=message):
            load_latents(tmp_path / name)


@pytest.mark.parametrize("strength", [0.25, 0.75])
def test_a_picture_given_in_part_is_walked_as_lightricks_walks_it(
    transformer: LTX2VideoTransformer3DModel, prompts: Prompts, request_of: Make, strength: float
) -> None:
    """With m = 1 - strength: tokens start at m noise + (1 - m) given, are shown at m sigma, and x0 = x - m sigma v is
    pulled to m x0 + (1 - m) given before each Euler step."""
    frame = torch.randn(4, 1, 1, 2, generator=torch.Generator().manual_seed(5))
    request = request_of(mode="i2v", conditioning_key="x")
    start = initial_state(request.seed, request.grid, 4, request.audio_tokens, 8)
    state = FirstFrame(frame, strength).apply(start)
    given, m = pack_video(frame[None]), 1 - strength
    noise = start.video.tokens
    torch.testing.assert_close(state.video.tokens[:, :2], m * noise[:, :2] + strength * given)
    assert torch.equal(state.video.tokens[:, 2:], noise[:, 2:])
    walk = Walk(transformer, prompts, Guidance(), request.frame_rate)
    video, audio = walk.streams(prompts.positive.apply(state), 0.8)
    torch.testing.assert_close(video.timesteps, torch.tensor([[0.8 * m, 0.8 * m, 0.8, 0.8]]))
    assert video.sigma.item() == pytest.approx(0.8)
    velocity = denoise(transformer, video, audio)[0]
    assert velocity is not None
    x = state.video.tokens
    x0 = x - torch.tensor([0.8 * m, 0.8 * m, 0.8, 0.8])[:, None] * velocity
    x0[:, :2] = m * x0[:, :2] + strength * given
    moved = walk.step(state, 0.8, 0.5).video.tokens
    torch.testing.assert_close(moved, x0 + 0.5 / 0.8 * (x - x0), rtol=0, atol=1e-6)


def test_the_more_a_picture_is_given_the_nearer_the_render_is_to_it(
    transformer: LTX2VideoTransformer3DModel, both_prompts: Prompts, request_of: Make
) -> None:
    frame = torch.randn(4, 1, 1, 2, generator=torch.Generator().manual_seed(5))
    request = request_of(mode="i2v", conditioning_key="x", guidance=EVERYTHING)
    off = []
    for strength in (0.2, 0.6, 0.9, 1.0):
        made = sample(transformer, both_prompts, request, Silent(), conditionings=[FirstFrame(frame, strength)])
        off.append(float((made.video[:, :1] - frame).norm()))
    assert off == sorted(off, reverse=True)
    assert off[0] > off[1] > off[2] > off[3] == 0


@pytest.mark.parametrize("strength", [0.0, -0.5, 1.5, float("nan")])
def test_strengths_that_mean_nothing_are_refused(
    transformer: LTX2VideoTransformer3DModel, prompts: Prompts, request_of: Make, strength: float
) -> None:
    frame = FirstFrame(torch.zeros(4, 1, 1, 2), strength)
    with pytest.raises(ConfigError, match="above 0 and up to 1 is wanted"):
        sample(transformer, prompts, request_of(mode="i2v", conditioning_key="x"), Silent(), conditionings=[frame])
