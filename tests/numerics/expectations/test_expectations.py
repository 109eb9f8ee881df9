"""What any implementation of LTX-2 training should do, each by its number; held by this package's own code."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.pipelines.ltx2.connectors import LTX2ConnectorTransformer1d

from ltx_core.adapters.lora import lora_parameters, target_modules
from ltx_core.adapters.lora_layout import original_name
from ltx_core.autoencoder.audio import decode_mel, encode_audio, encode_mel, mel_config
from ltx_core.autoencoder.video import decode_pixels, decode_video, encode_pixels, encode_video
from ltx_core.checkpoint.keys import PREFIXES, diffusers_name
from ltx_core.checkpoint.load import load_audio_vae, load_connectors, load_transformer, load_video_vae
from ltx_core.denoiser.tokens import pack_video, unpack_video
from ltx_core.flow_matching import sample_losses
from ltx_core.io.safetensors import read_header
from ltx_core.memory.video_vae import PATCH_CONV, TEMPORAL_ROLL, VaeMemory
from ltx_core.shapes import LatentShape, PixelShape, audio_latent_frames, floor_frames
from ltx_core.text.contexts import text_contexts
from ltx_core.training.objective import Objective
from ltx_core.training.order import SampleOccurrence
from ltx_core.training.step import backward_step

pytestmark = pytest.mark.numerics

CPU: dict[str, Any] = {"device": "cpu", "dtype": torch.float32}
Checkpoints = Callable[..., Any]
Objectives = Callable[..., Objective]


def test_e01_frame_counts_are_floored_to_8k_plus_1() -> None:
    for frames in range(1, 400):
        assert floor_frames(frames) == max(1, (frames - 1) // 8 * 8 + 1)
        assert floor_frames(floor_frames(frames)) == floor_frames(frames)
    assert [floor_frames(n) for n in (119, 50, 100, 2, 8, 61)] == [113, 49, 97, 1, 1, 57]


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 64, 32), (9, 32, 64), (17, 64, 96)])
def test_e02_latent_frames_and_tokens(frames: int, height: int, width: int, checkpoint: Checkpoints) -> None:
    shape = PixelShape(frames, height, width).latent()
    assert shape == ((frames - 1) // 8 + 1, height // 32, width // 32)
    assert shape.tokens == ((frames - 1) // 8 + 1) * (height // 32) * (width // 32)
    vae = load_video_vae(checkpoint("2.3", "video_vae"), **CPU)
    latent = encode_video(vae, torch.zeros(frames, height, width, 3, dtype=torch.uint8))
    assert tuple(latent.shape[1:]) == shape
    assert pack_video(latent[None]).shape[1] == shape.tokens


def test_e03_audio_length(checkpoint: Checkpoints) -> None:
    for frames in (1, 9, 17, 49, 121):
        for rate in (12.0, 24.0, 24000 / 1001, 25.0, 30.0, 60.0):
            assert audio_latent_frames(frames / rate) == max(1, round(frames / rate * 25))
    assert audio_latent_frames(17 / 24) == 18
    opened = checkpoint("2.3", "audio_vae")
    vae, mel = load_audio_vae(opened, **CPU), mel_config(opened.config)
    for seconds in (9 / 24, 17 / 24, 1.0):
        sound = torch.zeros(2, round(seconds * 16_000))
        assert len(encode_audio(vae, sound, mel)) == audio_latent_frames(seconds)


def test_e04_packing_and_unpacking_is_the_identity(checkpoint: Checkpoints) -> None:
    grid = LatentShape(3, 2, 4)
    latents = torch.randn(2, 5, *grid)
    assert torch.equal(unpack_video(pack_video(latents), grid), latents)
    vae = load_audio_vae(checkpoint("2.3", "audio_vae"), **CPU)
    packed: list[torch.Tensor] = []
    decode, tokens = vae.decode, torch.randn(1, 6, 32)
    vae.decode = lambda z, **options: (packed.append(z), decode(z, **options))[1]
    decode_mel(vae, tokens)
    again = packed[0].transpose(1, 2).flatten(2)  # as encode_mel packs
    assert torch.allclose((again - vae.latents_mean) / vae.latents_std, tokens, atol=1e-6)
    assert encode_mel(vae, torch.randn(1, 2, 24, 64)).shape == tokens.shape


@pytest.mark.parametrize("chunk_frames", [TEMPORAL_ROLL, 2, PATCH_CONV])
def test_e05_time_chunks_give_what_the_whole_clip_gives(chunk_frames: int, checkpoint: Checkpoints) -> None:
    """No frame is lost at a seam (defect 3): chunks are held to the whole, and run at any size."""
    vae, memory = load_video_vae(checkpoint("2.3", "video_vae"), **CPU), VaeMemory(chunk_frames=chunk_frames)
    pixels = torch.rand(1, 3, 33, 32, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = encode_pixels(vae, pixels)
    assert whole.shape[2] == 5
    torch.testing.assert_close(encode_pixels(vae, pixels, memory=memory), whole, rtol=0, atol=1e-4)
    torch.testing.assert_close(decode_pixels(vae, whole, memory=memory), decode_pixels(vae, whole), rtol=0, atol=1e-4)


class _BlockMeans(torch.nn.Module):
    """Stands for a perfect encoder of pictures that are flat in each block of 32 x 32: the mean of each block."""

    def forward(self, pixels: torch.Tensor, **_: Any) -> torch.Tensor:
        means = pixels.unflatten(3, (-1, 32)).unflatten(5, (-1, 32)).mean(dim=(4, 6))
        padded = torch.cat([means, means.new_zeros(len(means), 5, *means.shape[2:])], dim=1)
        return torch.cat([padded, torch.zeros_like(padded)], dim=1)


class _Blocks(torch.nn.Module):
    """Its inverse."""

    def forward(self, latent: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        return latent[:, :3].repeat_interleave(32, dim=3).repeat_interleave(32, dim=4)


def test_e06_encoding_and_decoding_restores_the_picture(checkpoint: Checkpoints) -> None:
    """The VAE's real statistics and entry points around a perfect code: every byte comes back, so does brightness."""
    vae = load_video_vae(checkpoint("2.3", "video_vae"), **CPU)
    vae.encoder, vae.decoder = _BlockMeans(), _Blocks()
    colours = torch.arange(256, dtype=torch.uint8).reshape(16, 16, 1).repeat(1, 1, 3)
    colours[..., 1] = 255 - colours[..., 1]
    frames = colours.repeat_interleave(32, 0).repeat_interleave(32, 1)[None]
    latent = encode_video(vae, frames)
    assert torch.equal(decode_video(vae, latent), frames)
    raw = latent * vae.latents_std.view(-1, 1, 1, 1) + vae.latents_mean.view(-1, 1, 1, 1)
    assert raw[0].min() == pytest.approx(-1, abs=1e-5)
    assert raw[0].max() == pytest.approx(1, abs=1e-5)


def test_e07_first_frame_is_clean_at_time_zero_without_loss(objective_of: Objectives) -> None:
    objective = objective_of("a", first_frame_probability=1.0)
    free = objective_of("a")
    occurrence = SampleOccurrence(objective.source.samples[0], 0)
    batch, plain = objective.train_batch([occurrence]), free.train_batch([occurrence])
    clean = pack_video(objective.source.load("a")["video"][None])
    assert torch.equal(batch.video.noisy[:, :2], clean[:, :2])
    assert torch.equal(batch.video.noisy[:, 2:], plain.video.noisy[:, 2:])
    assert batch.video.timesteps[0, :2].tolist() == [0, 0]
    assert torch.equal(batch.video.timesteps[:, 2:], plain.video.sigma[:, None].expand(1, 2))
    assert batch.audio is not None
    assert plain.audio is not None
    assert torch.equal(batch.audio.noisy, plain.audio.noisy)
    prediction, _ = objective.predict(batch)
    wrong = prediction.clone()
    wrong[:, :2] += 99
    losses = [sample_losses(p, batch.video.target, batch.video.weight) for p in (prediction, wrong)]
    assert torch.equal(losses[0], losses[1])


@pytest.mark.parametrize("generation", ["2.3", "2.5"])
def test_e08_additive_and_binary_text_masks_agree(generation: str, checkpoint: Checkpoints) -> None:
    """This package masks by adding; a connector told by 1 and 0 which tokens are valid gives the same context."""
    connectors = load_connectors(checkpoint(generation, "connectors"), **CPU)
    features = {"video_features": torch.randn(5, 32), "audio_features": torch.randn(5, 16)}
    contexts = text_contexts(connectors, [features], length=128)
    for context, name in zip(contexts, ("video", "audio"), strict=True):
        module: LTX2ConnectorTransformer1d = connectors[f"{name}_connector"]
        padded = torch.zeros(1, 128, features[f"{name}_features"].shape[1])
        padded[0, :5] = features[f"{name}_features"]
        binary = (torch.arange(128) < 5).float()[None]
        additive = (1 - binary)[:, None, None] * -1e6
        with torch.no_grad():
            told = module(padded, additive)[0]
        torch.testing.assert_close(context, told, rtol=0, atol=1e-6)
        with torch.no_grad():  # the mask matters: without it zeros stand where registers should
            assert not torch.allclose(module(padded, torch.zeros(1, 1, 1, 128))[0], context, atol=1e-4)


@pytest.mark.parametrize("generation", ["2.0", "2.3", "2.5"])
def test_e09_lora_keys_map_one_to_one_to_the_official_names(generation: str, checkpoint: Checkpoints) -> None:
    opened = checkpoint(generation, "transformer")
    transformer = load_transformer(opened, **CPU)
    official = set(read_header(opened.path).tensors)
    linear = [name for name, module in transformer.named_modules() if isinstance(module, torch.nn.Linear)]
    renamed = {name: original_name(name) for name in linear}
    assert len(set(renamed.values())) == len(linear) > 60
    for module, name in renamed.items():
        assert f"{PREFIXES['transformer']}{name}.weight" in official
        assert diffusers_name("transformer", PREFIXES["transformer"] + name) == module
    assert set(target_modules(transformer, "audio+video")) <= set(linear)


@pytest.mark.parametrize("given", [False, True], ids=["one time", "time by token"])
def test_e10_routing_works_with_timesteps_by_token_and_restores_the_order(
    given: bool, objective_of: Objectives
) -> None:
    """After a route over all blocks the tokens set aside are in their places, and as they entered it."""
    route = {"selection_ratio": 0.5, "start_layer_idx": 0, "end_layer_idx": -1}
    objective = objective_of("a", first_frame_probability=float(given), tread_routes=[route])
    batch = objective.train_batch([SampleOccurrence(objective.source.samples[0], 0)])
    assert batch.video.timesteps.ndim == (2 if given else 1)
    entering: list[torch.Tensor] = []
    leaving: list[torch.Tensor] = []
    model = objective.transformer
    hooks = [
        model.proj_in.register_forward_hook(lambda _, __, out: entering.append(out)),
        model.norm_out.register_forward_pre_hook(lambda _, inputs: leaving.append(inputs[0])),
    ]
    objective.predict(batch)
    for hook in hooks:
        hook.remove()
    aside = torch.ones(batch.video.weight.shape, dtype=torch.bool).scatter(1, batch.extras["tread.000"], False)
    assert aside.any()
    assert batch.video.weight[aside].all()
    changed = (leaving[0] != entering[0]).any(dim=2)
    assert changed.equal(~aside)


def test_e11_missing_audio_does_not_dilute_the_audio_loss(objective_of: Objectives) -> None:
    """Loss and gradient: the layer that turns audio tokens into velocities learns from the audio loss alone."""

    def learnt_from(*names: str) -> tuple[list[float], list[torch.Tensor]]:
        objective = objective_of(*names, adapted=("audio_proj_out",))
        seen, *_ = backward_step(objective, [[SampleOccurrence(sample, 0) for sample in objective.source.samples]])
        gradients = [p.grad for p in lora_parameters(objective.transformer).values() if p.grad is not None]
        return [loss.loss for loss in seen if loss.modality == "audio"], gradients

    (half, half_gradients), (alone, gradients) = learnt_from("a", "silent"), learnt_from("a")
    assert half == pytest.approx(alone, rel=1e-5)
    assert len(half) == 1
    assert len(gradients) == 2
    for one, other in zip(half_gradients, gradients, strict=True):
        assert other.norm() > 0
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("part", ["prompt_adaln", "audio_prompt_adaln"])
def test_e12_prompt_modulation_does_not_feel_the_first_frame(
    part: str, objective_of: Objectives, transformer: Any
) -> None:
    """Equal sigma, equal modulation of the prompt, whether the first tokens are at timestep 0 or not."""
    seen: list[torch.Tensor] = []
    handle = transformer.get_submodule(part).register_forward_hook(lambda _, __, out: seen.append(out[0]))
    try:
        for probability, occurrence in ((0.0, 0), (1.0, 0), (0.0, 1)):
            objective = objective_of("a", first_frame_probability=probability)
            with torch.no_grad():
                objective.predict(objective.train_batch([SampleOccurrence(objective.source.samples[0], occurrence)]))
    finally:
        handle.remove()
    free, given, other_sigma = seen
    assert torch.equal(free, given)
    assert not torch.allclose(free, other_sigma)
