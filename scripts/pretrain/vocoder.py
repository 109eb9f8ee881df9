"""The vocoder, on spectrograms of the small world and of free tones.

A spectrogram has no phase, and differences of magnitudes alone teach high tones late: a few bins of all. So the tones
that captions name begin at the same phase in every clip (`world.play`, `locked`), where the waveform itself can be
compared. Their periods fit the hop. For all else magnitudes are compared, relative to each clip's own.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ltx_core.autoencoder.audio import decode_mel, encode_mel, log_mel, mel_config
from ltx_core.shapes import AUDIO_RATE
from ltx_core.tiny.world import AUDIO, NUM_SAMPLES, play
from scripts.pretrain.autoencoders import Losses
from scripts.pretrain.batches import Clips

WINDOWS = (256, 512, 1024)
QUIET = 5e-4
"""Added to magnitudes before their logarithm."""
FAINT = 0.3
"""Added to a clip's energy before it is divided by: what is nearly silent is not compared by its own measure."""
FREE = 4
"""One in so many clips is a free tone."""
LENGTH = 32
"""Spectrogram frames of a part. It is compared up to its ends, which have the padding that a clip's ends have."""


class Heard(NamedTuple):
    """Spectrograms [N, 2, T, M], half of them through the audio VAE, their audio [N, 2, S], and [N] where the waveform
    is compared."""

    spectrogram: Tensor
    audio: Tensor
    is_tone: Tensor


def start_vocoder(vocoder: nn.Module) -> None:
    """As HiFi-GAN is initialised."""
    for layer in vocoder.modules():
        if isinstance(layer, nn.Conv1d):
            nn.init.normal_(layer.weight, 0, layer.weight[0].numel() ** -0.5)
        elif isinstance(layer, nn.ConvTranspose1d):
            nn.init.normal_(layer.weight, 0, 0.03)


@torch.no_grad()
def hear(vae: Any, clips: Clips, config: Mapping[str, Any], count: int, batch: int) -> Heard:
    """Draw `count` clips or a few more."""
    mel, generator, parts = mel_config(config), clips.generator, []
    tonal = torch.tensor([float(one.hertz > 0) for one in AUDIO.values()], device=generator.device)
    for _ in range(math.ceil(count / batch)):
        named, scenes = clips.scene(batch - batch // FREE)
        named = named._replace(audio=_with_all_tones(named.audio, generator))
        audio = torch.cat([play(named, scenes, generator, locked=True), free_tones(batch // FREE, generator)])
        true = log_mel(audio, mel)
        decoded = decode_mel(vae, encode_mel(vae, true))
        frames = min(decoded.shape[2], audio.shape[-1] // mel.hop)
        through = torch.arange(len(audio), device=audio.device)[:, None, None, None] % 2 == 1
        spectrogram = torch.where(through, decoded[:, :, :frames], true[:, :, :frames])
        is_tone = functional.pad(tonal[named.audio], (0, batch // FREE))
        parts.append(Heard(spectrogram, audio[..., : frames * mel.hop], is_tone))
    return Heard(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _with_all_tones(audio: Tensor, generator: torch.Generator) -> Tensor:
    """The kinds of audio [B], one in four of them drawn anew from all, so that the vocoder plays the bell as well: it
    is the transformer that has never heard it."""
    device = audio.device
    anew = torch.randint(len(AUDIO), audio.shape, device=device, generator=generator)
    return torch.where(torch.rand(audio.shape, device=device, generator=generator) < 0.25, anew, audio)


def free_tones(count: int, generator: torch.Generator) -> Tensor:
    """[count, 2, N]: tones of any pitch, most of which rise and fall."""
    device = generator.device

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, device=device, generator=generator)

    time = torch.arange(NUM_SAMPLES, device=device) / AUDIO_RATE
    hertz, rate = uniform(math.log(150), math.log(3500)).exp(), uniform(1, 5)
    swing = uniform(0, 0.5) * (uniform(0, 1) < 0.7)
    turns = hertz * time + hertz * swing / (2 * math.pi * rate) * (1 - (2 * math.pi * rate * time).cos())
    wave = (2 * math.pi * turns + uniform(0, 2 * math.pi)).sin() * uniform(0.2, 0.4)
    side = uniform(0.1, 1.4)
    return torch.stack([wave * side.cos(), wave * side.sin()], 1)


def vocoder_losses(vocoder: Any, heard: Heard, hop: int, batch: int, generator: torch.Generator) -> Losses:
    """The waveform of tones, and magnitudes at three window lengths, over a part of each clip."""
    device = generator.device
    spectra = [_Spectrum(size, device) for size in WINDOWS]
    frames, samples = torch.arange(LENGTH, device=device), torch.arange(LENGTH * hop, device=device)

    def losses() -> Mapping[str, Tensor]:
        rows = torch.randint(len(heard.audio), (batch,), device=device, generator=generator)
        begin = torch.randint(heard.spectrogram.shape[2] - LENGTH, (), device=device, generator=generator)
        spectrogram = heard.spectrogram[rows].index_select(2, begin + frames)
        wanted = heard.audio[rows].index_select(2, begin * hop + samples)
        made = vocoder(spectrogram)
        # Not their difference, which is least for silence as long as the phase is wrong.
        off = 1 - functional.cosine_similarity(made.flatten(1), wanted.flatten(1), dim=1, eps=1e-4)
        waveform = (off * heard.is_tone[rows]).sum() / heard.is_tone[rows].sum().clamp(min=1)
        magnitude = torch.zeros((), device=device)
        for spectrum in spectra:
            ours, theirs = spectrum(made), spectrum(wanted)
            far = ((ours - theirs).square().sum((1, 2, 3)) + 1e-6).sqrt()
            logarithmic = ((ours + QUIET).log() - (theirs + QUIET).log()).abs().mean()
            magnitude = magnitude + (far / (theirs.square().sum((1, 2, 3)) + FAINT).sqrt()).mean() + 0.5 * logarithmic
        return {"loss": 2 * waveform + magnitude, "waveform": waveform, "magnitude": magnitude / len(spectra)}

    return losses


class _Spectrum:
    """Magnitudes of a short-time Fourier transform by a matrix product, which a CUDA graph holds."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.size = size
        bins, times = torch.arange(size // 2 + 1).double(), torch.arange(size).double()
        phase = 2 * math.pi * torch.outer(times, bins) / size
        window = torch.hann_window(size, dtype=torch.float64)[:, None] / math.sqrt(size)
        self.cosine, self.sine = ((window * part).float().to(device) for part in (phase.cos(), phase.sin()))

    def __call__(self, audio: Tensor) -> Tensor:
        """[B, channels, frames, bins]"""
        padded = functional.pad(audio, (self.size // 2, self.size // 2))
        frames = padded.unfold(-1, self.size, self.size // 4)
        power = (frames @ self.cosine).square() + (frames @ self.sine).square()
        return (power + 1e-9).sqrt()
