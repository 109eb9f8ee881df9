"""The miniature's modules: diffusers' own classes, at the sizes that the header says, with random weights."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video, LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2Vocoder, LTX2VocoderWithBWE
from diffusers.pipelines.ltx2.connectors import LTX2ConnectorTransformer1d
from torch import nn

from ltx_core.autoencoder.mel import MelConfig, mel_filters
from ltx_core.checkpoint.architecture import (
    audio_vae_arguments,
    connector_arguments,
    transformer_arguments,
    vocoder_arguments,
)
from ltx_core.checkpoint.video_architecture import video_vae_arguments
from ltx_core.miniature import header
from ltx_core.miniature.weights import draw

ALIKE = 0.97
"""Correlation of the weights of neighbouring pixels in the video decoder."""
OUTWEIGHING = 20.0
"""Gain of an upsampling step's weights over the residual beside them."""


def build_modules(config: Mapping[str, Any]) -> dict[str, Any]:
    """Every component by its name in `checkpoint.keys.COMPONENTS`; weights come from torch's random state."""
    vocoder = LTX2VocoderWithBWE if "bwe" in config["vocoder"] else LTX2Vocoder
    modules = {
        "transformer": LTX2VideoTransformer3DModel(**transformer_arguments(config)),
        "connectors": nn.ModuleDict(
            {name: LTX2ConnectorTransformer1d(**kw) for name, kw in connector_arguments(config).items()}
        ),
        "text_projection": build_text_projection(config),
        "video_vae": AutoencoderKLLTX2Video(**video_vae_arguments(config)),
        "audio_vae": AutoencoderKLLTX2Audio(**audio_vae_arguments(config)),
        "vocoder": vocoder(**vocoder_arguments(config)),
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
            "video_text_proj_in": nn.Linear(states, header.VIDEO_WIDTH),
            "audio_text_proj_in": nn.Linear(states, header.AUDIO_WIDTH),
        }
    )


def smooth(decoder: Any) -> None:
    """Let values that are unfolded into neighbouring pixels be much alike, as a trained decoder's are.

    Each upsampling step, and the last layer with its 4x4 patches, makes a block of neighbours from the channels of one
    place. With weights drawn apart for each neighbour every picture would be noise of single pixels. 2.0 also adds the
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
