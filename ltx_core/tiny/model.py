"""The miniature: footage, and the tiny checkpoint in Lightricks' layouts, which has diffusers' own classes at toy
widths, random weights, and set levels.

A released model's latents have mean 0 and spread 1 for real footage once normalised, and its decoders answer with
video and audio of ordinary range. Here both are measured on a few of the corpus' own scenes and sounds, in float64
so that no rounding of sums shows in the stored bfloat16.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video, LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2Vocoder, LTX2VocoderWithBWE
from diffusers.pipelines.ltx2.connectors import LTX2ConnectorTransformer1d
from torch import Tensor, nn

from ltx_core.autoencoder.audio import MelConfig, decode_mel, encode_mel, log_mel, mel_config, mel_filters
from ltx_core.autoencoder.video import decode_pixels, encode_pixels
from ltx_core.checkpoint.keys import PREFIXES, UNUSED, to_original_keys
from ltx_core.checkpoint.model import ARGUMENTS
from ltx_core.io.tensors import write_tensors
from ltx_core.progress import SILENT, Progress, stop_if_asked
from ltx_core.tiny import header
from ltx_core.tiny.footage import write_audio, write_footage, write_image
from ltx_core.tiny.gemma import write_gemma, write_packed_gemma
from ltx_core.tiny.header import VIDEO_CHANNELS, Generation, config, metadata
from ltx_core.tiny.scenes import draw as draw_scene
from ltx_core.tiny.sounds import play
from ltx_core.tiny.weights import draw, seeded

ALIKE = 0.97
"""Correlation of the weights of neighbouring pixels in the video decoder."""
OUTWEIGHING = 20.0
"""Gain of an upsampling step's weights over the residual beside them."""


def build_modules(config: Mapping[str, Any]) -> dict[str, Any]:
    """Every component by its name in `checkpoint.keys.COMPONENTS`; weights come from torch's random state."""
    vocoder = LTX2VocoderWithBWE if "bwe" in config["vocoder"] else LTX2Vocoder
    arguments = {name: made(config) for name, made in ARGUMENTS.items()}
    modules = {
        "transformer": LTX2VideoTransformer3DModel(**arguments["transformer"]),
        "connectors": nn.ModuleDict(
            {name: LTX2ConnectorTransformer1d(**kw) for name, kw in arguments["connectors"].items()}
        ),
        "text_projection": build_text_projection(config),
        "video_vae": AutoencoderKLLTX2Video(**arguments["video_vae"]),
        "audio_vae": AutoencoderKLLTX2Audio(**arguments["audio_vae"]),
        "vocoder": vocoder(**arguments["vocoder"]),
    }
    for module in modules.values():
        draw(module)
        module.requires_grad_(False).eval()
    smooth(modules["video_vae"].decoder)
    if "bwe" in config["vocoder"]:
        set_spectrum(modules["vocoder"], config["vocoder"]["bwe"])
    return modules


def build_text_projection(config: Mapping[str, Any]) -> nn.ModuleDict:
    """Linear maps from all hidden states of a token: one for both streams in 2.0, one for each stream later."""
    states = header.TEXT_WIDTH * (header.TEXT_LAYERS + 1)
    if not config["transformer"].get("caption_proj_before_connector", False):
        return nn.ModuleDict({"text_proj_in": nn.Linear(states, header.TEXT_WIDTH, bias=False)})
    return nn.ModuleDict(
        {
            "video_text_proj_in": nn.Linear(states, config["transformer"]["cross_attention_dim"]),
            "audio_text_proj_in": nn.Linear(states, config["transformer"]["audio_cross_attention_dim"]),
        }
    )


def smooth(decoder: Any) -> None:
    """Let values that are unfolded into neighbouring pixels be much alike, as a trained decoder's are.

    Each upsampling step, and the last layer with its 4x4 patches, makes a block of neighbours from the channels of one
    place. With weights drawn apart for each neighbour every frame would be noise of single pixels. 2.0 also adds the
    channels themselves, unfolded; the learned part is made to outweigh them.
    """
    for block in decoder.up_blocks:
        if block.upsamplers[0].residual:
            block.upsamplers[0].conv.conv.weight.mul_(OUTWEIGHING)
    patch = decoder.patch_size**2
    blocks = [(block.upsamplers[0].conv.conv, math.prod(block.upsamplers[0].stride)) for block in decoder.up_blocks]
    for layer, neighbours in [*blocks, (decoder.conv_out.conv, patch)]:
        own = layer.weight.unflatten(0, (-1, neighbours))
        layer.weight.copy_((ALIKE * own[:, :1] + (1 - ALIKE**2) ** 0.5 * own).flatten(0, 1))


def set_spectrum(vocoder: LTX2VocoderWithBWE, section: Mapping[str, Any]) -> None:
    """Fill the log-mel front end of the bandwidth extension, whose Fourier basis and filters are stored as tensors."""
    size = section["n_fft"]
    phase = 2 * torch.pi * torch.outer(torch.arange(size // 2 + 1), torch.arange(size)) / size
    basis = torch.cat([phase.cos(), -phase.sin()]) * torch.hann_window(size)
    vocoder.mel_stft.stft_fn.forward_basis.copy_(basis[:, None])
    vocoder.mel_stft.stft_fn.inverse_basis.copy_(basis[:, None])  # released files have one; nothing reads it
    mel = MelConfig(
        sample_rate=section["input_sampling_rate"],
        fft_size=size,
        hop=section["hop_length"],
        mel_bins=section["num_mels"],
        highest_hertz=section["input_sampling_rate"] / 2,
    )
    vocoder.mel_stft.mel_basis.copy_(mel_filters(mel))


SCENES = ("rolling_ball", "passing_hills", "talking_face", "drifting_clouds", "rising_bubbles", "zooming_tunnel")
AUDIO_BY_NAME = ("hum_and_clicks", "voice", "wind", "birds", "thuds", "train_clacks")
SECONDS = 0.5
EDGE = 64
NUM_FRAMES = 9
PIXEL_SPREAD = 0.4
"""Standard deviation of decoded pixels in [-1, 1]."""
AUDIO_SPREAD = 0.1
"""Of decoded audio: -20 dBFS."""
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
    waveforms = [torch.from_numpy(play(name, SECONDS, mel.sample_rate)) for name in AUDIO_BY_NAME]
    heard = log_mel(torch.stack(waveforms), mel).double()
    tokens = set_statistics(vae, encode_mel(vae, heard), (0, 1))
    last = vae.decoder.conv_out.conv
    decoded = outputs_of(last, lambda: decode_mel(vae, tokens))
    return set_level(last, decoded, mean=float(heard.mean()), spread=float(heard.std()))


def calibrate_vocoder(vocoder: Any, spectrograms: Tensor) -> None:
    """Audio of an ordinary level without an offset, from the first stage and, where there is one, the extension."""
    extended = hasattr(vocoder, "bwe_generator")
    first = vocoder.vocoder if extended else vocoder
    set_audio_level(first.conv_out, lambda: first(spectrograms), AUDIO_SPREAD)
    if extended:
        set_audio_level(vocoder.bwe_generator.conv_out, lambda: vocoder(spectrograms), EXTENSION_SPREAD)


def set_audio_level(layer: Any, run: Callable[[], Any], spread: float) -> None:
    """As `set_level`; the layer may lack a bias, so its weights are made to answer a constant with zero."""
    layer.weight.sub_(layer.weight.mean(-1, keepdim=True))
    set_level(layer, outputs_of(layer, run), mean=0.0, spread=spread)


def scene_pixels(scene: str) -> Tensor:
    """[3, F, H, W] in [-1, 1]."""
    times = np.linspace(0, SECONDS, NUM_FRAMES, endpoint=False)
    frames = np.stack([draw_scene(scene, float(time), SECONDS, (EDGE, EDGE)) for time in times])
    return torch.from_numpy(frames).permute(3, 0, 1, 2).float() / 127.5 - 1


def set_statistics(vae: Any, latents: Tensor, over: tuple[int, ...]) -> Tensor:
    """Store mean and spread by channel, measured while the statistics are still 0 and 1; the latents normalised."""
    mean, spread = latents.mean(over, keepdim=True), latents.std(over, keepdim=True)
    vae.latents_mean.copy_(mean.flatten())
    vae.latents_std.copy_(spread.flatten())
    return (latents - mean) / spread


def outputs_of(layer: nn.Module, run: Callable[[], Any]) -> Tensor:
    """Return what `layer` gives while `run` runs."""
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


TRANSFORMER = "diffusion_models/ltx-2.5-miniature-transformer-bf16.safetensors"
TEXT_ENCODER = "text_encoders/gemma4-miniature-with-proj-ltx-2.5-bf16.safetensors"
VIDEO_VAE = "vae/ltx-2.5-miniature-video-vae-conv-bf16.safetensors"
AUDIO_VAE = "vae/ltx-2.5-miniature-audio-vae-bf16.safetensors"


def write_checkpoint(path: Path, generation: Generation, seed: int) -> Path:
    """Write the checkpoint in bfloat16; the same bytes for the same generation and seed.

    Raises:
        StorageError: the disk is full or read-only.
    """
    write_tensors(path, checkpoint_tensors(generation, seed), metadata(generation))
    return path


def write_pack(folder: Path, seed: int) -> Path:
    """Write LTX-2.5 as it is published, in four files; the same bytes for the same seed. Gives the text encoder's path.

    The text projection lies with the text encoder, and the video VAE's tensors have no prefix.

    Raises:
        StorageError: the disk is full or read-only.
    """
    tensors = checkpoint_tensors("2.5", seed)

    def starting_with(*prefixes: str) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in tensors.items() if name.startswith(prefixes)}

    video = {name.removeprefix(PREFIXES["video_vae"]): t for name, t in starting_with(PREFIXES["video_vae"]).items()}
    audio = starting_with(PREFIXES["audio_vae"], PREFIXES["vocoder"])
    write_tensors(folder / TRANSFORMER, starting_with(PREFIXES["transformer"]), metadata("2.5", "transformer"))
    write_tensors(folder / VIDEO_VAE, video, metadata("2.5", "vae"))
    write_tensors(folder / AUDIO_VAE, audio, metadata("2.5", "audio_vae", "vocoder"))
    return write_packed_gemma(folder / TEXT_ENCODER, starting_with(PREFIXES["text_projection"]), seed)


def checkpoint_tensors(generation: Generation, seed: int) -> dict[str, Tensor]:
    """All tensors under Lightricks' names, bfloat16."""
    sections = config(generation)
    with seeded(seed):
        modules = build_modules(sections)
    calibrate(modules, sections)
    tensors: dict[str, Tensor] = {}
    for component, module in modules.items():
        tensors |= to_original_keys(component, module.state_dict())
    # Statistics that released files carry and nothing reads.
    for name in UNUSED["video_vae"]:
        tensors[PREFIXES["video_vae"] + name] = torch.ones(VIDEO_CHANNELS)
    return {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}


CHECKPOINT_NAME = "ltx-2-miniature.safetensors"


@dataclass(frozen=True)
class Miniature:
    """Where everything lies."""

    checkpoint: Path
    """The combined checkpoint or, of 2.5, the folder of the pack."""
    text_encoder: Path
    """Folder of the toy Gemma 3 or, of 2.5, the pack's file."""
    footage: Path
    """Folder of media files with captions beside them."""
    image: Path | None = None
    """Image that image to video starts from."""
    audio: Path | None = None
    """Audio that audio to video follows."""


def write_miniature(
    folder: Path, *, generation: Generation = "2.0", seed: int = 0, progress: Progress = SILENT
) -> Miniature:
    """Write model, text encoder and footage below `folder`, replacing what has their names.

    Args:
        generation: whose topology the model has.
        seed: of the weights; the footage is always the same.

    Raises:
        StorageError: the disk is full or read-only.
        Stopped: asked to stop; the files written so far are whole.
    """
    checkpoint, text_encoder = write_model(folder / "model", generation, seed)
    stop_if_asked(progress, "writing the miniature")
    footage = folder / "footage"
    write_footage(footage, progress=progress)
    prompts = folder / "given"
    image, audio = write_image(prompts / "face.png"), write_audio(prompts / "birds.wav")
    return Miniature(checkpoint, text_encoder, footage, image, audio)


def write_model(folder: Path, generation: Generation, seed: int = 0) -> tuple[Path, Path]:
    """Write model and text encoder in the layout that the generation is published in; the paths of both.

    Raises:
        StorageError: the disk is full or read-only.
    """
    if generation == "2.5":
        return folder, write_pack(folder, seed)
    return write_checkpoint(folder / CHECKPOINT_NAME, generation, seed), write_gemma(folder / "gemma", seed)
