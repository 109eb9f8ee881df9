"""The maps from the text encoder's hidden states to features. Needs no diffusers, which takes seconds to import."""

from dataclasses import dataclass

import torch

from ltx_core.checkpoint.architecture import wanted
from ltx_core.checkpoint.fill import filled
from ltx_core.checkpoint.model import Checkpoint
from ltx_core.errors import CheckpointError


@dataclass(frozen=True)
class TextProjection:
    """The linear maps from stacked hidden states to features."""

    video: torch.nn.Linear
    """2.0: the only map, shared by both streams."""
    audio: torch.nn.Linear | None
    """2.3 and later."""
    per_token_norm: bool
    """Normalise each token on its own (2.3 and later) or over all valid tokens of a caption (2.0)."""


def load_text_projection(checkpoint: Checkpoint, *, device: str, dtype: torch.dtype) -> TextProjection:
    """The feature extractor's linear maps.

    Raises:
        CheckpointError: tensors are missing, unknown or mis-shaped, or they are no projection that LTX-2 has.
    """
    shapes = checkpoint.shapes("text_projection")

    def build() -> torch.nn.ModuleDict:
        names = sorted({name.rpartition(".")[0] for name in shapes})
        return torch.nn.ModuleDict({name: _linear(shapes, name) for name in names})

    maps = filled(build, checkpoint, "text_projection", device, dtype)
    norm = str(checkpoint.config["transformer"].get("text_encoder_norm_type", "")).lower()
    if set(maps) == {"text_proj_in"} and not norm:
        return TextProjection(maps["text_proj_in"], None, per_token_norm=False)
    if set(maps) == {"video_text_proj_in", "audio_text_proj_in"} and norm == "per_token_rms":
        return TextProjection(maps["video_text_proj_in"], maps["audio_text_proj_in"], per_token_norm=True)
    raise CheckpointError(
        f"{checkpoint.path} has the text projections {sorted(maps)} with norm {norm or 'of 2.0'}; one shared map "
        "(2.0), or one for video and one for audio with per_token_rms (2.3 and later), are wanted"
    )


def _linear(shapes: dict[str, tuple[int, ...]], name: str) -> torch.nn.Linear:
    out_features, in_features = wanted(shapes, f"{name}.weight")
    return torch.nn.Linear(in_features, out_features, bias=f"{name}.bias" in shapes)
