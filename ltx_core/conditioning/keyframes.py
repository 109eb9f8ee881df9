"""Keyframes: single frames that are appended to the tokens of the video, each at its own time.

Source: Lightricks' inference, which gives every image but that of the first frame so. A latent frame in the middle of a
video stands for eight frames, so one frame cannot take its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ltx_core.conditioning.state import SampleState
from ltx_core.denoiser.tokens import pack_video, video_positions
from ltx_core.errors import ShapeError
from ltx_core.shapes import TIME_STRIDE, LatentShape


def keyframe_positions(numbers: Sequence[int], grid: LatentShape, frame_rate: float) -> Tensor:
    """Bounds of the tokens of frames by their numbers, [1, 3, K * H * W, 2]: all over the frame, for as long as one
    pixel frame lasts."""
    frame = video_positions(LatentShape(1, grid.height, grid.width), frame_rate)
    found = []
    for number in numbers:
        one = frame.clone()
        one[:, 0] = torch.tensor([number, number + 1]) / frame_rate
        found.append(one)
    return torch.cat(found, dim=2)


@dataclass(frozen=True)
class Keyframes:
    """Frames of the sample, each encoded by itself."""

    latents: Tensor
    """[C, K, H, W], K times one latent frame as `encode_video` gives it for a single image."""
    numbers: tuple[int, ...]
    """Number of each frame in the sample, counted from 0."""
    frame_rate: float
    """Frames per second of the sample."""
    strength: float = 1.0
    """Above 0. At 1 the frames are shown as they are, below it in part."""

    def apply(self, state: SampleState) -> SampleState:
        """The state with the tokens of the frames after those of the video.

        Raises:
            ShapeError: the frames are not as large as the sample, are not as many as the numbers, or lie outside it.
            ConfigError: the strength is not above 0 and up to 1.
        """
        grid, channels, count = state.grid, state.video.tokens.shape[2], len(self.numbers)
        last = (grid.frames - 1) * TIME_STRIDE
        wanted = (channels, count, grid.height, grid.width)
        if tuple(self.latents.shape) != wanted or not count or not all(0 <= n <= last for n in self.numbers):
            raise ShapeError(
                f"keyframes are {list(self.latents.shape)} with numbers {list(self.numbers)}; this sample wants "
                f"[{channels}, K, {grid.height}, {grid.width}] with K numbers from 0 to {last}"
            )
        positions = keyframe_positions(self.numbers, grid, self.frame_rate)
        return state.beside("video", pack_video(self.latents[None]), positions, self.strength)
