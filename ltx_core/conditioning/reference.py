"""Reference videos: tokens that are appended clean to those of the video, with positions of their own, which an IC-LoRA
learns to follow.

Source: Lightricks' trainer and inference. The trainer puts the tokens before the video's and inference after them;
attention does not know an order but that of the positions, so both are the same.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ltx_core.conditioning.state import SampleState, StreamState
from ltx_core.denoiser.tokens import pack_video, video_positions
from ltx_core.errors import ShapeError
from ltx_core.shapes import LatentShape


def downscale_factor(video: LatentShape, reference: LatentShape) -> int:
    """By how much the edges of a reference are shorter than those of its video.

    Raises:
        ShapeError: it is no whole number, the same for both edges, or they are not equally long.
    """
    factor = max(video.height // max(reference.height, 1), 1)
    if (reference.frames, reference.height * factor, reference.width * factor) != tuple(video):
        raise ShapeError(
            f"the reference is {list(reference)} latent frames, rows and columns and its video {list(video)}; as many "
            f"frames, and rows and columns smaller by one whole number, are wanted"
        )
    return factor


def reference_positions(
    reference: LatentShape, factor: int, frame_rate: float, batch: int = 1, device: torch.device | str = "cpu"
) -> Tensor:
    """Bounds of a reference's tokens as `video_positions` gives them, [B, 3, T, 2]: at the times of the video and, each
    place being `factor` times as large, all over its frame."""
    positions = video_positions(reference, frame_rate, batch, device)
    positions[:, 1:] *= factor
    return positions


@dataclass(frozen=True)
class Reference:
    """A video that is to be followed."""

    latent: Tensor
    """[C, F, H, W], normalised as `encode_video` gives it; as many frames as the sample."""
    frame_rate: float
    """Frames per second, those of the sample."""

    def apply(self, state: SampleState) -> SampleState:
        """The state with the reference's tokens after those of the video; to be applied last.

        Raises:
            ShapeError: the latent has other channels or frames than the sample, or is not smaller by a whole number.
        """
        video = state.video
        if self.latent.ndim != 4 or self.latent.shape[0] != video.tokens.shape[2]:
            raise ShapeError(
                f"reference latent is {list(self.latent.shape)}; [{video.tokens.shape[2]}, F, H, W] is wanted"
            )
        shape = LatentShape(*self.latent.shape[1:])
        positions = reference_positions(shape, downscale_factor(state.grid, shape), self.frame_rate)
        return replace(state, video=_appended(video, pack_video(self.latent[None].to(video.tokens)), positions))


def _appended(video: StreamState, tokens: Tensor, positions: Tensor) -> StreamState:
    tokens = tokens.expand(len(video.tokens), -1, -1)
    clean = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    return replace(
        video,
        tokens=torch.cat([video.tokens, tokens], dim=1),
        clean=torch.cat([video.clean, clean], dim=1),
        appended=positions.to(tokens.device),
    )
