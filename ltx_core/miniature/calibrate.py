"""Set what random weights cannot know: latent statistics, and output levels that a person can see and hear.

A released model's latents have mean 0 and spread 1 for real footage once normalised, and its decoders answer with
pictures and sound of ordinary range. Here both are measured on a few of the corpus' own scenes and sounds, in float64
so that no rounding of sums shows in the stored bfloat16.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ltx_core.autoencoder.audio import decode_mel, encode_mel
from ltx_core.autoencoder.mel import log_mel, mel_config
from ltx_core.autoencoder.video import decode_pixels, encode_pixels
from ltx_core.miniature.scenes import draw
from ltx_core.miniature.sounds import play

SCENES = ("rolling_ball", "passing_hills", "talking_face", "drifting_clouds", "rising_bubbles", "zooming_tunnel")
SOUNDS = ("hum_and_clicks", "voice", "wind", "birds", "thuds", "train_clacks")
SECONDS = 0.5
EDGE = 64
NUM_FRAMES = 9
PIXEL_SPREAD = 0.4
"""Standard deviation of decoded pixels in [-1, 1]."""
SOUND_SPREAD = 0.1
"""Of decoded sound: -20 dBFS."""
EXTENSION_SPREAD = 0.02
"""Of what the bandwidth extension adds."""


@torch.no_grad()
def calibrate(modules: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Set the statistics and the last layers of both VAEs and of the vocoder, in place."""
    parts = [modules[name].double() for name in ("video_vae", "audio_vae", "vocoder")]
    calibrate_video(modules["video_vae"])
    spectrograms = calibrate_audio(modules["audio_vae"], config)
    calibrate_vocoder(modules["vocoder"], spectrograms[:2])
    for part in parts:
        part.float()


def calibrate_video(vae: Any) -> None:
    """Latent statistics over a few scenes, then decoded pixels around grey."""
    pixels = torch.stack([scene_pixels(scene) for scene in SCENES]).double()
    latents = set_statistics(vae, encode_pixels(vae, pixels), (0, 2, 3, 4))
    last = vae.decoder.conv_out.conv
    set_level(last, outputs_of(last, lambda: decode_pixels(vae, latents)), mean=0.0, spread=PIXEL_SPREAD)


def calibrate_audio(vae: Any, config: Mapping[str, Any]) -> Tensor:
    """Latent statistics over a few sounds, then decoded spectrograms of the sounds' own mean and spread: these."""
    mel = mel_config(config)
    sounds = [torch.from_numpy(play(sound, SECONDS, mel.sample_rate)) for sound in SOUNDS]
    heard = log_mel(torch.stack(sounds), mel).double()
    tokens = set_statistics(vae, encode_mel(vae, heard), (0, 1))
    last = vae.decoder.conv_out.conv
    decoded = outputs_of(last, lambda: decode_mel(vae, tokens))
    return set_level(last, decoded, mean=float(heard.mean()), spread=float(heard.std()))


def calibrate_vocoder(vocoder: Any, spectrograms: Tensor) -> None:
    """Sound of an ordinary level without an offset, from the first stage and, where there is one, the extension."""
    extended = hasattr(vocoder, "bwe_generator")
    first = vocoder.vocoder if extended else vocoder
    set_sound_level(first.conv_out, lambda: first(spectrograms), SOUND_SPREAD)
    if extended:
        set_sound_level(vocoder.bwe_generator.conv_out, lambda: vocoder(spectrograms), EXTENSION_SPREAD)


def set_sound_level(layer: Any, run: Callable[[], Any], spread: float) -> None:
    """As `set_level`; the layer may lack a bias, so its weights are made to answer a constant with zero."""
    layer.weight.sub_(layer.weight.mean(-1, keepdim=True))
    set_level(layer, outputs_of(layer, run), mean=0.0, spread=spread)


def scene_pixels(scene: str) -> Tensor:
    """[3, F, H, W] in [-1, 1]."""
    times = np.linspace(0, SECONDS, NUM_FRAMES, endpoint=False)
    frames = np.stack([draw(scene, float(time), SECONDS, (EDGE, EDGE)) for time in times])
    return torch.from_numpy(frames).permute(3, 0, 1, 2).float() / 127.5 - 1


def set_statistics(vae: Any, latents: Tensor, over: tuple[int, ...]) -> Tensor:
    """Store mean and spread by channel, measured while the statistics are still 0 and 1; the latents normalised."""
    mean, spread = latents.mean(over, keepdim=True), latents.std(over, keepdim=True)
    vae.latents_mean.copy_(mean.flatten())
    vae.latents_std.copy_(spread.flatten())
    return (latents - mean) / spread


def outputs_of(layer: nn.Module, run: Callable[[], Any]) -> Tensor:
    """What `layer` gives while `run` runs."""
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    try:
        run()
    finally:
        handle.remove()
    return torch.cat(seen)


def set_level(layer: Any, seen: Tensor, *, mean: float, spread: float) -> Tensor:
    """Scale and shift a last layer so that each channel has this mean and all together this spread.

    Args:
        layer: a convolution, in place.
        seen: what it gave so far, [B, C, ...].

    Returns:
        What it gives now.
    """
    others = [axis for axis in range(seen.ndim) if axis != 1]
    centre = seen.mean(others, keepdim=True)
    factor = spread / (seen - centre).std()
    layer.weight.mul_(factor)
    if layer.bias is not None:
        layer.bias.copy_((layer.bias - centre.flatten()) * factor + mean)
    return (seen - centre) * factor + mean
