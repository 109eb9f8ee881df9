"""A known beginning: the first latent frames. One frame is image to video, more is going on from a clip."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ltx_core.conditioning.state import Leaning, SampleState
from ltx_core.denoiser.packing import pack_video
from ltx_core.errors import ConfigError, ShapeError
from ltx_core.shapes import LatentShape


@dataclass(frozen=True)
class Prefix:
    """The first latent frames of a sample."""

    latent: Tensor
    """[C, n, H, W], normalised as `encode_video` gives it; n from 1 to one less than the sample's frames."""
    strength: float = 1.0
    """Above 0. At 1 the frames are known and stay as they are; below it they are kept in part (`Leaning`)."""

    def apply(self, state: SampleState) -> SampleState:
        """The state with the tokens of the first n latent frames known.

        Raises:
            ShapeError: the frames are not as large as the sample, or leave nothing to make.
            ConfigError: the strength is not above 0 and up to 1.
        """
        if not 0 < self.strength <= 1:
            raise ConfigError(f"strength of given frames is {self.strength}; above 0 and up to 1 is wanted")
        grid, channels = state.grid, state.video.tokens.shape[2]
        count = self.latent.shape[1] if self.latent.ndim == 4 else 0
        wanted = (channels, count, grid.height, grid.width)
        if tuple(self.latent.shape) != wanted or not 0 < count < max(grid.frames, 2):
            raise ShapeError(
                f"first frame latent is {list(self.latent.shape)}; this sample wants [{channels}, n, {grid.height}, "
                f"{grid.width}] with n from 1 to {max(grid.frames - 1, 1)}. Resize and cut the frames to the sample's "
                f"size before encoding them."
            )
        frames = pack_video(self.latent[None].to(state.video.tokens))
        tokens = state.video.tokens.clone()
        tokens[:, : frames.shape[1]] = frames
        where = prefix_tokens(grid, count).to(tokens.device).expand(tokens.shape[:2])
        if self.strength == 1:
            return replace(state, video=state.video.known(tokens, where))
        leaning = Leaning(tokens, self.strength * where.to(tokens.dtype))
        return replace(state, video=replace(state.video, tokens=leaning.mixed(state.video.tokens), leaning=leaning))


def prefix_tokens(grid: LatentShape, num_frames: int) -> Tensor:
    """Tokens of the first `num_frames` latent frames: bool [T]."""
    return torch.arange(grid.tokens) < num_frames * grid.height * grid.width
