"""The video VAE and the audio VAE: how they start, their losses, and faster convolutions."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ltx_core.autoencoder.audio import log_mel, mel_config
from ltx_core.tiny.world import draw, play
from scripts.pretrain.batches import Clips

Losses = Callable[[], Mapping[str, Tensor]]
VIDEO_KL, AUDIO_KL = 2e-5, 5e-3
DECODER_NOISE = 0.3
"""Most noise on the decoder's latents, in units of a channel's spread."""
OBJECT_WEIGHT = 4.0
"""How much more a pixel of an object, or beside it, counts than one of the background."""


def start_video(vae: Any) -> None:
    """Starting values: the classes' own shrink signals layer by layer, and at unit spread the means of a fresh
    encoder drown, so that a decoder learns to ignore them."""
    _draw_convolutions(vae)
    vae.decoder.conv_out.conv.weight.data.mul_(0.3)
    vae.encoder.conv_out.conv.bias.data[-1] = -6.0


def start_audio(vae: Any) -> None:
    """As `start_video`; the decoder begins at the level of silence."""
    _draw_convolutions(vae)
    bias = vae.encoder.conv_out.conv.bias.data
    bias[len(bias) // 2 :] = -5.0
    vae.decoder.conv_out.conv.bias.data.fill_(-6.0)


def _draw_convolutions(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv3d | nn.Conv2d):
            nn.init.normal_(layer.weight, 0, layer.weight[0].numel() ** -0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def video_losses(vae: Any, clips: Clips, batch: int) -> Losses:
    """Differences of pixels and of their edges, objects first, and the divergence of the posterior."""

    def losses() -> Mapping[str, Tensor]:
        with torch.no_grad():
            pixels, weight = _weighted(clips, batch, named=batch // 2)
        with _bfloat16(pixels.device):
            moments = vae.encoder(pixels)
        latents, kl = _posterior(moments, clips.generator)
        with _bfloat16(pixels.device):
            decoded = vae.decoder(latents).float()
        found = _compared(decoded, pixels, weight)
        return found | {"loss": found["loss"] + VIDEO_KL * kl, "kl": kl}

    return losses


def _weighted(clips: Clips, batch: int, named: int) -> tuple[Tensor, Tensor]:
    """Clips, of which `named` have words, and how much each of their pixels counts."""
    drawn = draw(clips.scene(named)[1]), draw(clips.free(batch - named))
    pixels, covered = (torch.cat(both) for both in zip(*drawn, strict=True))
    near = functional.max_pool3d(covered, (1, 5, 5), stride=1, padding=(0, 2, 2))
    weight = 1 + OBJECT_WEIGHT * near
    return pixels, weight / weight.mean()


def _compared(decoded: Tensor, pixels: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Differences of the pixels and of their edges."""
    error = decoded - pixels
    edges = torch.stack([(error.diff(dim=d).abs() * weight.narrow(d, 1, weight.shape[d] - 1)).mean() for d in (3, 4)])
    l1, l2 = (error.abs() * weight).mean(), (error.square() * weight).mean()
    return {"loss": l1 + l2 + 0.5 * edges.sum(), "l1": l1, "psnr": 10 * torch.log10(4 / error.square().mean())}


def decoder_losses(vae: Any, clips: Clips, batch: int) -> Losses:
    """As `video_losses`, of the decoder alone: latents that a transformer makes are never quite those of a clip, so it
    is shown latents that are off by a little noise, and learns to draw whole outlines from them."""
    device = clips.generator.device
    spread = vae.latents_std.view(1, -1, 1, 1, 1)

    def losses() -> Mapping[str, Tensor]:
        with torch.no_grad():
            pixels, weight = _weighted(clips, batch, named=batch * 3 // 4)
            with _bfloat16(device):
                moments = vae.encoder(pixels)
            latents, _ = _posterior(moments, clips.generator)
            level = DECODER_NOISE * torch.rand(batch, 1, 1, 1, 1, device=device, generator=clips.generator)
            latents = latents + level * spread * torch.randn(latents.shape, device=device, generator=clips.generator)
        with _bfloat16(device):
            decoded = vae.decoder(latents).float()
        return _compared(decoded, pixels, weight)

    return losses


def audio_losses(vae: Any, clips: Clips, config: Mapping[str, Any], batch: int) -> Losses:
    """Differences of log-mel spectrograms, and the divergence of the posterior; float32, as Lightricks runs it."""
    mel = mel_config(config)

    def losses() -> Mapping[str, Tensor]:
        with torch.no_grad():
            spectrogram = log_mel(play(*clips.scene(batch), clips.generator), mel)
        latents, kl = _posterior(vae.encoder(spectrogram), clips.generator)
        decoded = vae.decoder(latents)
        error = decoded - spectrogram[:, :, : decoded.shape[2]]
        l1 = error.abs().mean()
        return {"loss": l1 + 0.1 * error.square().mean() + AUDIO_KL * kl, "l1": l1, "kl": kl}

    return losses


def _posterior(moments: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A draw from the encoder's posterior, and its divergence from a unit normal."""
    mean, logarithm = moments.float().chunk(2, dim=1)
    logarithm = logarithm.clamp(-20, 10)
    noise = torch.randn(mean.shape, device=mean.device, generator=generator)
    kl = 0.5 * (mean.square() + logarithm.exp() - 1 - logarithm).mean()
    return mean + noise * (0.5 * logarithm).exp(), kl


def _bfloat16(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda", cache_enabled=False)


def by_images(module: nn.Module) -> None:
    """From now on every 3x3x3 convolution in `module` lays its three frames side by side, as channels of one
    image, whose convolutions cuDNN computes several times faster at few channels."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv3d) and layer.kernel_size == (3, 3, 3) and layer.padding_mode == "zeros":
            if layer.padding != (0, 1, 1) or layer.stride != (1, 1, 1) or layer.groups != 1:
                raise ValueError(f"{layer} is no convolution of the video VAE")
            layer.forward = _Images(layer)  # type: ignore[method-assign]


class _Images:
    def __init__(self, layer: nn.Conv3d) -> None:
        self.layer = layer

    def __call__(self, video: Tensor) -> Tensor:
        """[B, C, F + 2, H, W] to [B, D, F, H, W], channels last in memory."""
        weight, bias = self.layer.weight, self.layer.bias
        frames = video.shape[2] - 2
        moved = video.permute(0, 2, 3, 4, 1)
        beside = torch.cat([moved[:, i : i + frames] for i in range(3)], dim=-1).flatten(0, 1)
        kernel = weight.permute(0, 2, 1, 3, 4).flatten(1, 2).contiguous(memory_format=torch.channels_last)
        images = functional.conv2d(beside.permute(0, 3, 1, 2), kernel, bias, padding=1)
        return images.unflatten(0, (len(video), frames)).permute(0, 2, 1, 3, 4)
