"""The transformer with its connectors and text projection, on latents of the trained VAEs."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from diffusers.models.transformers.transformer_ltx2 import LTX2AudioVideoRotaryPosEmbed
from diffusers.pipelines.ltx2.connectors import LTX2RotaryPosEmbed1d
from torch import Tensor, nn
from torch.nn import functional

from ltx_core.autoencoder.audio import encode_mel, log_mel, mel_config
from ltx_core.autoencoder.video import encode_pixels
from ltx_core.denoiser.forward import denoise
from ltx_core.denoiser.tokens import Stream, audio_positions, first_frame_keyframes, pack_video, video_positions
from ltx_core.shapes import PixelShape, audio_latent_frames
from ltx_core.tiny.header import TEXT_WIDTH
from ltx_core.tiny.world import FRAME_RATE, FRAMES, HEIGHT, WIDTH, caption, draw, play, scene
from scripts.pretrain.batches import Clips

DROPPED_CAPTIONS = 0.1
"""Fraction of samples without a caption, for classifier-free guidance."""
AUDIO_WEIGHT = 0.5
TEXT_LENGTH = 1024
"""As the product renders."""


class Cache(NamedTuple):
    """Latents of clips and hidden states of captions, on the device.

    Attributes:
        video: [N, T, C], normalised.
        audio: [N, A, D], normalised.
        caption: [N], which caption.
        states: [captions, S, D], zero after a caption's end. The last one is empty.
        lengths: [captions].
    """

    video: Tensor
    audio: Tensor
    caption: Tensor
    states: Tensor
    lengths: Tensor


class Geometry:
    """Positions of the one clip size."""

    def __init__(self, device: torch.device) -> None:
        self.grid = PixelShape(FRAMES, HEIGHT, WIDTH).latent()
        self.audio_tokens = audio_latent_frames(FRAMES / FRAME_RATE)
        self.video = video_positions(self.grid, FRAME_RATE, 1, device)
        self.audio = audio_positions(self.audio_tokens, 1, device)
        self.keyframes = first_frame_keyframes(self.grid, 1, device)

    def streams(
        self, video: Tensor, audio: Tensor, sigma: Tensor, contexts: tuple[Tensor, Tensor]
    ) -> tuple[Stream, Stream]:
        """What one forward is given."""
        batch = len(video)
        keyframes = self.keyframes.expand(batch, -1, -1)
        return (
            Stream(video, sigma, sigma, contexts[0], self.video.expand(batch, -1, -1, -1), keyframes),
            Stream(audio, sigma, sigma, contexts[1], self.audio.expand(batch, -1, -1, -1)),
        )


class Learner(nn.ModuleDict):
    """The modules that learn together: `transformer`, `connectors`, `text_projection`."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__(modules)
        for layer in self.modules():
            if isinstance(layer, LTX2AudioVideoRotaryPosEmbed | LTX2RotaryPosEmbed1d):
                layer.forward = _Once(layer.forward)  # type: ignore[method-assign]

    def contexts(self, states: Tensor, lengths: Tensor, length: int = TEXT_LENGTH) -> tuple[Tensor, Tensor]:
        """As `ltx_core.text`, in batches and with gradients: [B, length, D] of each stream."""
        places = torch.arange(length, device=states.device)
        hidden = torch.where(places < lengths[:, None], 0.0, torch.finfo(torch.float32).min)[:, None, None]
        made = []
        for stream in ("video", "audio"):
            linear: Any = self["text_projection"][f"{stream}_text_proj_in"]  # type: ignore[index]
            features = linear(states * math.sqrt(linear.out_features / TEXT_WIDTH))
            features = functional.pad(features, (0, 0, 0, length - features.shape[1]))
            made.append(self["connectors"][f"{stream}_connector"](features, hidden)[0])  # type: ignore[index]
        return made[0], made[1]


class _Once:
    """Rotary embeddings by the shape of what is asked for: all clips have the same positions here."""

    def __init__(self, forward: Callable[..., tuple[Tensor, Tensor]]) -> None:
        self.forward = forward
        self.known: dict[object, tuple[Tensor, Tensor]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        given = (*args, *kwargs.values())
        key = tuple(tuple(one.shape) if isinstance(one, Tensor) else str(one) for one in given)
        if key not in self.known:
            self.known[key] = self.forward(*args, **kwargs)
        return self.known[key]


def denoiser_losses(
    learner: Learner, cache: Cache, geometry: Geometry, batch: int, text_length: int, generator: torch.Generator
) -> Callable[[], Mapping[str, Tensor]]:
    """The flow-matching loss of both streams at one sigma: half of them uniform, half logit-normal."""
    device = generator.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, device=device, generator=generator)

    def losses() -> Mapping[str, Tensor]:
        index = torch.randint(len(cache.video), (batch,), device=device, generator=generator)
        video, audio = cache.video[index].float(), cache.audio[index].float()
        named = torch.where(uniform(batch) < DROPPED_CAPTIONS, len(cache.lengths) - 1, cache.caption[index])
        normal = torch.randn(batch, device=device, generator=generator)
        sigma = torch.where(uniform(batch) < 0.5, uniform(batch), torch.sigmoid(normal + 0.6)).clamp(1e-3, 1.0)
        level = sigma[:, None, None]
        noises = [torch.randn(clean.shape, device=device, generator=generator) for clean in (video, audio)]
        noisy = [(1 - level) * clean + level * noise for clean, noise in zip((video, audio), noises, strict=True)]
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda", cache_enabled=False):
            contexts = learner.contexts(cache.states[named].float(), cache.lengths[named], text_length)
            found = denoise(learner["transformer"], *geometry.streams(*noisy, sigma, contexts))  # type: ignore[arg-type]
        assert found[0] is not None
        assert found[1] is not None
        video_loss = (found[0].float() - (noises[0] - video)).square().mean()
        audio_loss = (found[1].float() - (noises[1] - audio)).square().mean()
        return {"loss": video_loss + AUDIO_WEIGHT * audio_loss, "video": video_loss, "audio": audio_loss}

    return losses


@torch.no_grad()
def make_cache(
    modules: Mapping[str, Any],
    config: Mapping[str, Any],
    embed: Callable[[list[str]], tuple[Tensor, Tensor]],
    clips: Clips,
    count: int,
    batch: int,
) -> Cache:
    """Encode `count` clips, each with one of its captions."""
    mel, device = mel_config(config), clips.generator.device
    tokens = audio_latent_frames(FRAMES / FRAME_RATE)
    texts = [caption(spec, phrasing) for spec in clips.specs for phrasing in range(3)]
    video, audio, words = [], [], []
    for _ in range(math.ceil(count / batch)):
        rows = clips.draw_rows(batch)
        named = clips.table.rows(rows)
        scenes = scene(named, clips.generator)
        video.append(pack_video(encode_pixels(modules["video_vae"], draw(scenes)[0])).to(torch.bfloat16))
        sound = log_mel(play(named, scenes, clips.generator), mel)
        audio.append(encode_mel(modules["audio_vae"], sound)[:, :tokens].to(torch.bfloat16))
        words.append(rows * 3 + torch.randint(3, rows.shape, device=device, generator=clips.generator))
    states, lengths = embed([*texts, ""])
    return Cache(torch.cat(video), torch.cat(audio), torch.cat(words), states, lengths)
