"""DINOv2 (Oquab et al. 2023, arXiv 2304.07193): features of the frames that a clip's latent frames stand for."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional
from transformers import Dinov2Model
from transformers.utils import logging

from ltx_core.autoencoder.encoding import Decoded
from ltx_core.errors import CheckpointError
from ltx_core.io.tensors import not_finite
from ltx_core.shapes import SPACE_STRIDE
from ltx_core.transfer import one_behind, to_device, to_host
from ltx_core.vision.folder import HEAD, StoredEncoder, check_image_size

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, of red, green and blue in [0, 1]: what DINOv2 was trained with."""
UNUSED = "embeddings.mask_token"
"""For training DINOv2 itself; some files leave it out."""


@dataclass(frozen=True)
class FrameEncoder:
    """An encoder and the size that it sees frames at."""

    model: Any
    image_size: int
    """Edge in pixels; a frame is squeezed to a square of it."""
    frames_at_once: int

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.model.parameters()).device

    @torch.no_grad()
    def features(self, frames: Tensor) -> Tensor:
        """uint8 [F, H, W, 3] to [F, H / 32, W / 32, D] in float16: a feature for each place of the latent grid.

        Patches that several places share, or that share a place, are mixed: bilinear, with the filter widened where
        there are more patches than places, along each axis by itself. Both grids cover the whole frame, so a place and
        its patches show the same pixels. Parts of `frames_at_once` frames; a clip's features do not depend on others.
        """
        grid = frames.shape[1] // SPACE_STRIDE, frames.shape[2] // SPACE_STRIDE
        return torch.cat([self._part(part, grid) for part in to_device(frames, self.device).split(self.frames_at_once)])

    def _part(self, frames: Tensor, grid: tuple[int, int]) -> Tensor:
        pixels = _frame_files(frames, self.image_size).to(next(self.model.parameters()).dtype)
        patches = self.model(pixel_values=pixels).last_hidden_state[:, 1:]  # the first token stands for the whole
        side = self.image_size // self.model.config.patch_size
        grids = patches.float().transpose(1, 2).unflatten(2, (side, side))
        resized = functional.interpolate(grids, grid, mode="bilinear", align_corners=False, antialias=True)
        return resized.permute(0, 2, 3, 1).to(torch.float16)


def load_frame_encoder(
    stored: StoredEncoder, *, image_size: int, frames_at_once: int, device: str, dtype: torch.dtype
) -> FrameEncoder:
    """The frozen encoder on a device.

    Raises:
        CheckpointError: tensors are missing or mis-shaped, or a file ends early.
        ConfigError: the size is no multiple of the patches.
    """
    check_image_size(stored, image_size)
    model = _loaded(stored, dtype).to(device).requires_grad_(False).eval()
    return FrameEncoder(model, image_size, frames_at_once)


def _loaded(stored: StoredEncoder, dtype: torch.dtype) -> Any:
    """By transformers' own loader: it knows what releases of it called the layers. What it would make up is refused."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model, found = Dinov2Model.from_pretrained(
            stored.folder, local_files_only=True, use_safetensors=True, dtype=dtype, output_loading_info=True
        )
    except (RuntimeError, OSError, SafetensorError) as error:
        raise CheckpointError(f"{stored.folder} cannot be loaded ({error}); download it again") from error
    finally:
        if shown:
            logging.enable_progress_bar()
    missing = sorted(name for name in found["missing_keys"] if name != UNUSED)
    unknown = sorted(name for name in found["unexpected_keys"] if not name.startswith(HEAD))
    if missing or unknown:
        raise CheckpointError(
            f"the vision encoder in {stored.folder} lacks {missing[:3]} and has unknown {unknown[:3]}; download it "
            f"again"
        )
    if broken := not_finite(model.named_parameters()):
        raise CheckpointError(f"{stored.folder} holds NaN or infinity in {broken[0]}; download it again")
    return model


def _frame_files(frames: Tensor, edge: int) -> Tensor:
    """uint8 [F, H, W, 3] to what DINOv2 takes: [F, 3, edge, edge], float32."""
    scaled = frames.permute(0, 3, 1, 2).float() / 255
    square = functional.interpolate(scaled, (edge, edge), mode="bilinear", align_corners=False, antialias=True)
    mean, deviation = (torch.tensor(values, device=frames.device)[:, None, None] for values in (MEAN, DEVIATION))
    return (square - mean) / deviation


def embed_clips(clips: Iterable[Decoded], encoder: FrameEncoder) -> Iterator[tuple[Decoded, Tensor]]:
    """(clip, features [F, H, W, D]) in order, from clips of latent frames; the next clip is computed meanwhile."""
    for clip, made in one_behind(clips, lambda clip: to_host({"features": encoder.features(clip.frames)})):
        yield clip, made["features"]
