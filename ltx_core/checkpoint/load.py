"""Components of a checkpoint as frozen diffusers modules, built empty and filled tensor by tensor."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    LTX2VideoDiffusionDecoderModel,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2 import LTX2Vocoder, LTX2VocoderWithBWE
from diffusers.pipelines.ltx2.connectors import LTX2ConnectorTransformer1d
from diffusers.pipelines.ltx2.vocoder import UpSample1d

from ltx_core.checkpoint.diffusion_vae import DECODER
from ltx_core.checkpoint.model import Model
from ltx_core.checkpoint.read import filled
from ltx_core.errors import CheckpointError


def load_transformer(checkpoint: Model, *, device: str, dtype: torch.dtype) -> LTX2VideoTransformer3DModel:
    """The denoiser, frozen and in eval mode.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape than the header's config says; names them.
    """
    return filled(lambda: _transformer(checkpoint), checkpoint, "transformer", device, dtype)


def empty_transformer(checkpoint: Model, num_blocks: int | None = None) -> LTX2VideoTransformer3DModel:
    """The denoiser on the meta device, to be filled; with so many blocks, or as many as the checkpoint has.

    Raises:
        CheckpointError: the config names what this release of diffusers does not know.
    """
    with torch.device("meta"):
        return _transformer(checkpoint, num_blocks)


def load_connectors(checkpoint: Model, *, device: str, dtype: torch.dtype) -> torch.nn.ModuleDict:
    """`video_connector` and `audio_connector`, which turn features into contexts; without the text projection.

    Raises:
        CheckpointError: as for `load_transformer`.
    """
    arguments = checkpoint.arguments("connectors")

    def build() -> torch.nn.ModuleDict:
        return torch.nn.ModuleDict({name: _built(LTX2ConnectorTransformer1d, arguments[name]) for name in arguments})

    return filled(build, checkpoint, "connectors", device, dtype)


def load_video_vae(checkpoint: Model, *, device: str, dtype: torch.dtype) -> AutoencoderKLLTX2Video:
    """The video VAE. Where LTX-2.5's has a diffusion decoder, its `decoder` is a LTX2VideoDiffusionDecoderModel, whose
    arguments its config has as `diffusion_decoder`.

    Raises:
        CheckpointError: as for `load_transformer`.
    """
    arguments = dict(checkpoint.arguments("video_vae"))
    diffusion = arguments.pop(DECODER, None)

    def build() -> AutoencoderKLLTX2Video:
        vae: AutoencoderKLLTX2Video = _built(AutoencoderKLLTX2Video, arguments)
        if diffusion is not None:
            vae.decoder = _diffusion_decoder(diffusion)
            vae.register_to_config(**{DECODER: diffusion})
        return vae

    return filled(build, checkpoint, "video_vae", device, dtype)


def _diffusion_decoder(arguments: Mapping[str, Any]) -> LTX2VideoDiffusionDecoderModel:
    decoder: LTX2VideoDiffusionDecoderModel = _built(LTX2VideoDiffusionDecoderModel, arguments)
    del decoder.latents_mean, decoder.latents_std  # the VAE around it has them
    return decoder


def load_audio_vae(checkpoint: Model, *, device: str, dtype: torch.dtype) -> AutoencoderKLLTX2Audio:
    """The audio VAE; Lightricks runs it in float32.

    Raises:
        CheckpointError: as for `load_transformer`.
    """
    arguments = checkpoint.arguments("audio_vae")
    return filled(lambda: _built(AutoencoderKLLTX2Audio, arguments), checkpoint, "audio_vae", device, dtype)


def load_vocoder(checkpoint: Model, *, device: str, dtype: torch.dtype) -> LTX2Vocoder | LTX2VocoderWithBWE:
    """The vocoder, from log-mel to audio; 2.3 and later with bandwidth extension.

    Raises:
        CheckpointError: as for `load_transformer`.
    """
    arguments = checkpoint.arguments("vocoder")
    extended = "bwe_in_channels" in arguments
    kind = LTX2VocoderWithBWE if extended else LTX2Vocoder
    vocoder = filled(lambda: _built(kind, arguments), checkpoint, "vocoder", device, dtype)
    if extended:  # its filter is computed, not stored, so it is still on the meta device
        ratio = arguments["output_sampling_rate"] // arguments["input_sampling_rate"]
        vocoder.resampler = UpSample1d(ratio=ratio, window_type="hann", persistent=False).to(device, dtype)
    return vocoder


def _transformer(checkpoint: Model, num_blocks: int | None = None) -> LTX2VideoTransformer3DModel:
    arguments = dict(checkpoint.arguments("transformer"))
    if num_blocks is not None:
        arguments["num_layers"] = num_blocks
    transformer: LTX2VideoTransformer3DModel = _built(LTX2VideoTransformer3DModel, arguments)
    return transformer


def _built(kind: type[Any], arguments: Mapping[str, Any]) -> Any:
    if unknown := sorted(arguments.keys() - inspect.signature(kind).parameters.keys()):
        raise CheckpointError(
            f"the config of {kind.__name__} has {', '.join(unknown)}, which this release of diffusers does not know; "
            "give the model's files in Lightricks' own layout"
        )
    return kind(**arguments)
