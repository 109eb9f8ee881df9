"""Known places anywhere in the picture: inpainting, outpainting, keyframes."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ltx_core.conditioning.state import SampleState
from ltx_core.denoiser.packing import pack_video
from ltx_core.errors import ShapeError
from ltx_core.shapes import SPACE_STRIDE, LatentShape

THRESHOLD = 0.5
"""Above it a place is given. Source: Lightricks' trainer."""


@dataclass(frozen=True)
class Mask:
    """A latent of the sample's size of which some places are given."""

    latent: Tensor
    """[C, F, H, W], normalised as `encode_video` gives it."""
    given: Tensor
    """[F, H, W]; above 0.5 where the latent is given, the rest is made."""

    def apply(self, state: SampleState) -> SampleState:
        """The state with the tokens of the given places known.

        Raises:
            ShapeError: latent or mask is not as large as the sample, or nothing is left to make.
        """
        tokens = state.video.tokens
        wanted = (tokens.shape[2], *state.grid)
        if tuple(self.latent.shape) != wanted:
            raise ShapeError(f"latent under the mask is {list(self.latent.shape)}; this sample wants {list(wanted)}")
        where = mask_tokens(self.given, state.grid).to(tokens.device).expand(tokens.shape[:2])
        latent = pack_video(self.latent[None].to(tokens)).expand_as(tokens)
        return replace(state, video=state.video.known(latent, where))


def mask_tokens(given: Tensor, grid: LatentShape) -> Tensor:
    """Tokens under a mask [F, H, W]: bool [T].

    Raises:
        ShapeError: the mask is not as large as the grid, or covers all of it.
    """
    if tuple(given.shape) != tuple(grid):
        raise ShapeError(f"mask is {list(given.shape)}; {list(grid)} latent frames, rows and columns are wanted")
    where = (given > THRESHOLD).flatten()
    if bool(where.all()):
        raise ShapeError("the mask gives every place; leave one at 0.5 or below for the model to make")
    return where


def kept_places(kept: Tensor, grid: LatentShape) -> Tensor:
    """A mask of pixels [rows, columns] as one of latent places [F, H, W], the same in every frame.

    A place is given only if every one of its 32x32 pixels is above `THRESHOLD`: of a place that is partly to be made
    anew, the given latent would still show what was there.

    Raises:
        ShapeError: the mask is not as large as the sample's pixels.
    """
    wanted = (grid.height * SPACE_STRIDE, grid.width * SPACE_STRIDE)
    if tuple(kept.shape) != wanted:
        raise ShapeError(f"mask of pixels is {list(kept.shape)}; {list(wanted)} rows and columns are wanted")
    cells = (kept > THRESHOLD).view(grid.height, SPACE_STRIDE, grid.width, SPACE_STRIDE)
    return cells.all(dim=3).all(dim=1).float().expand(grid).contiguous()


def outside(region: tuple[float, float, float, float], grid: LatentShape) -> Tensor:
    """Places [F, H, W] outside a region are given, those that it touches are made anew.

    Args:
        region: left, top, right, bottom as fractions of the picture.
        grid: latent frames, rows and columns.
    """
    left, top, right, bottom = region
    rows, columns = (torch.arange(edge, dtype=torch.float64) for edge in (grid.height, grid.width))
    touched_rows = (rows < bottom * grid.height) & (rows + 1 > top * grid.height)
    touched_columns = (columns < right * grid.width) & (columns + 1 > left * grid.width)
    return 1 - (touched_rows[:, None] & touched_columns).float().expand(grid)
