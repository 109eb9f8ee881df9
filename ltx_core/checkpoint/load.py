"""Components of a checkpoint as frozen diffusers modules, built empty and filled tensor by tensor."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video, LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2Vocoder, LTX2VocoderWithBWE
from diffusers.pipelines.ltx2.connectors import LTX2ConnectorTransformer1d
from diffusers.pipelines.ltx2.vocoder import UpSample1d

from ltx_core.checkpoint.architecture import wanted
from ltx_core.checkpoint.model import Checkpoint
from ltx_core.checkpoint.quantised.reader import Weight
from ltx_core.checkpoint.read import read_weights
from ltx_core.errors import CheckpointError

NAMED = 5
"""How many tensor names a message lists."""


@dataclass(frozen=True)
class TextProjection:
    """The linear maps from stacked hidden states to features."""

    video: torch.nn.Linear
    """2.0: the only map, shared by both streams."""
    audio: torch.nn.Linear | None
    """2.3 and later."""
    per_token_norm: bool
    """Normalise each token on its own (2.3 and later) or over all valid tokens of a caption (2.0)."""


def load_transformer(checkpoint: Checkpoint, *, device: str, dtype: torch.dtype) -> LTX2VideoTransformer3DModel:
    """The denoiser, frozen and in eval mode.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape than the header's config says; names them.
    """
    return _load(lambda: _transformer(checkpoint), checkpoint, "transformer", device, dtype)


def empty_transformer(checkpoint: Checkpoint) -> LTX2VideoTransformer3DModel:
    """The denoiser on the meta device, to be filled.

    Raises:
        CheckpointError: the config names what this release of diffusers does not know.
    """
    with torch.device("meta"):
        return _transformer(checkpoint)


def load_connectors(checkpoint: Checkpoint, *, device: str, dtype: torch.dtype) -> torch.nn.ModuleDict:
    """`video_connector` and `audio_connector`, which turn features into contexts; without the text projection.

    Raises:
        CheckpointError: as for `load_transformer`.
    """
    arguments = checkpoint.arguments("connectors")

    def build() -> torch.nn.ModuleDict:
        return torch.nn.ModuleDict({name: _built(LTX2ConnectorTransformer1d, arguments[name]) for name in arguments})

    return _load(build, checkpoint, "connectors", device, dtype)


def load_text_projection(checkpoint: Checkpoint, *, device: str, dtype: torch.dtype) -> TextProjection:
    """The feature extractor's linear maps.

    Raises:
        CheckpointError: as for `load_transformer`.
    """
    shapes = checkpoint.shapes("text_projection")

    def build() -> torch.nn.ModuleDict:
        names = sorted({name.rpartition(".")[0] for name in shapes})
        return torch.nn.ModuleDict({name: _linear(shapes, name) for name in names})

    maps = _load(build, checkpoint, "text_projection", device, dtype)
    norm = str(checkpoint.config["transformer"].get("text_encoder_norm_type", "")).lower()
    if set(maps) == {"text_proj_in"} and not norm:
        return TextProjection(maps["text_proj_in"], None, per_token_norm=False)
    if set(maps) == {"video_text_proj_in", "audio_text_proj_in"} and norm == "per_token_rms":
        return TextProjection(maps["video_text_proj_in"], maps["audio_text_proj_in"], per_token_norm=True)
    raise CheckpointError(
        f"{checkpoint.path} has the text projections {sorted(maps)} with norm {norm or 'of 2.0'}; one shared map "
        "(2.0), or one for video and one for audio with per_token_rms (2.3 and later), are wanted"
    )


def load_video_vae(checkpoint: Checkpoint, *, device: str, dtype: torch.dtype) -> AutoencoderKLLTX2Video:
    """The video VAE with its convolutional decoder.

    Raises:
        CheckpointError: as for `load_transformer`.
    """
    arguments = checkpoint.arguments("video_vae")
    return _load(lambda: _built(AutoencoderKLLTX2Video, arguments), checkpoint, "video_vae", device, dtype)


def empty_video_vae(checkpoint: Checkpoint, *, dtype: torch.dtype) -> AutoencoderKLLTX2Video:
    """The video VAE on the meta device: layers without weights, for what is planned before anything is read."""
    with torch.device("meta"):
        vae = _built(AutoencoderKLLTX2Video, checkpoint.arguments("video_vae"))
    torch.nn.Module.to(vae, dtype)  # diffusers' own warns of layers that it would keep in float32, and has none here
    return vae


def load_audio_vae(checkpoint: Checkpoint, *, device: str, dtype: torch.dtype) -> AutoencoderKLLTX2Audio:
    """The audio VAE; Lightricks runs it in float32.

    Raises:
        CheckpointError: as for `load_transformer`.
    """
    arguments = checkpoint.arguments("audio_vae")
    return _load(lambda: _built(AutoencoderKLLTX2Audio, arguments), checkpoint, "audio_vae", device, dtype)


def load_vocoder(checkpoint: Checkpoint, *, device: str, dtype: torch.dtype) -> LTX2Vocoder | LTX2VocoderWithBWE:
    """The vocoder, from log-mel to sound; 2.3 and later with bandwidth extension.

    Raises:
        CheckpointError: as for `load_transformer`.
    """
    arguments = checkpoint.arguments("vocoder")
    extended = "bwe_in_channels" in arguments
    kind = LTX2VocoderWithBWE if extended else LTX2Vocoder
    vocoder = _load(lambda: _built(kind, arguments), checkpoint, "vocoder", device, dtype)
    if extended:  # its filter is computed, not stored, so it is still on the meta device
        ratio = arguments["output_sampling_rate"] // arguments["input_sampling_rate"]
        vocoder.resampler = UpSample1d(ratio=ratio, window_type="hann", persistent=False).to(device, dtype)
    return vocoder


def _transformer(checkpoint: Checkpoint) -> LTX2VideoTransformer3DModel:
    transformer: LTX2VideoTransformer3DModel = _built(LTX2VideoTransformer3DModel, checkpoint.arguments("transformer"))
    return transformer


def _built(kind: type[Any], arguments: Mapping[str, Any]) -> Any:
    if unknown := sorted(arguments.keys() - inspect.signature(kind).parameters.keys()):
        raise CheckpointError(
            f"the config of {kind.__name__} has {', '.join(unknown)}, which this release of diffusers does not know; "
            "give the model's files in Lightricks' own layout"
        )
    return kind(**arguments)


def _load(build: Callable[[], Any], checkpoint: Checkpoint, component: str, device: str, dtype: torch.dtype) -> Any:
    """Build on the meta device, hold every name and shape against the file, then read straight to `device`."""
    with torch.device("meta"):
        module = build()
    weights = checkpoint.weights(component)
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    compare_shapes(f"the {component} in {checkpoint.path}", weights, expected)
    module.load_state_dict(read_weights(weights, device=device, dtype=dtype), strict=True, assign=True)
    return module.requires_grad_(False).eval()


def compare_shapes(what: str, weights: Mapping[str, Weight], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Hold what is stored against what a module needs.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape; names the first of each.
    """
    problems = []
    if missing := sorted(expected.keys() - weights.keys()):
        problems.append(f"lacks {_some(missing)}")
    if unknown := sorted(weights.keys() - expected.keys()):
        problems.append(f"has unknown {_some(unknown)}")
    both = {name: (weights[name].shape, expected[name]) for name in sorted(expected.keys() & weights.keys())}
    if wrong := [
        f"{name} {list(found)} for {list(needed)}" for name, (found, needed) in both.items() if found != needed
    ]:
        problems.append(f"has shapes other than its config says: {_some(wrong)}")
    if problems:
        raise CheckpointError(
            f"{what} {'; '.join(problems)} (names in the module). Give the files as they were published, or "
            "download them again."
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _linear(shapes: dict[str, tuple[int, ...]], name: str) -> torch.nn.Linear:
    out_features, in_features = wanted(shapes, f"{name}.weight")
    return torch.nn.Linear(in_features, out_features, bias=f"{name}.bias" in shapes)
