"""Every kind of conditioning, a frozen dataclass with `apply(state) -> state`. A new one is written and listed here."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ltx_core.conditioning.reference import Reference
from ltx_core.conditioning.state import Leaning, SampleState
from ltx_core.conditioning.whole_video import WholeVideo
from ltx_core.denoiser.tokens import pack_video
from ltx_core.errors import ConfigError, ShapeError
from ltx_core.shapes import SPACE_STRIDE, LatentShape


@dataclass(frozen=True)
class Text:
    """Contexts of one prompt, as the connectors give them."""

    video: Tensor
    """[B, S, Dv]"""
    audio: Tensor
    """[B, S, Da]"""

    def apply(self, state: SampleState) -> SampleState:
        """The state with both streams following this text."""
        return replace(
            state,
            video=replace(state.video, context=self.video),
            audio=replace(state.audio, context=self.audio),
        )


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
            raise ConfigError(f"strength of the conditioning frames is {self.strength}; above 0 and up to 1 is wanted")
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


@dataclass(frozen=True)
class FirstFrame:
    """The first latent frame, which covers exactly one pixel frame."""

    latent: Tensor
    """[C, 1, H, W], normalised as `encode_video` gives it."""
    strength: float = 1.0
    """As `Prefix.strength`."""

    def apply(self, state: SampleState) -> SampleState:
        """The state with the tokens of latent frame 0 known, or leaning to the given ones.

        Raises:
            ShapeError: the frame is not as large as the sample.
            ConfigError: the strength is not above 0 and up to 1.
        """
        if self.latent.ndim != 4 or self.latent.shape[1] != 1:
            raise ShapeError(f"first frame latent is {list(self.latent.shape)}; [C, 1, H, W] is wanted")
        return Prefix(self.latent, self.strength).apply(state)


@dataclass(frozen=True)
class Sound:
    """All audio tokens of the sample. The whole stream is then at sigma 0."""

    tokens: Tensor
    """[A, D], normalised and packed as `encode_audio` gives them."""

    def apply(self, state: SampleState) -> SampleState:
        """The state with every audio token known.

        Raises:
            ShapeError: the audio is not as long as the sample.
        """
        wanted = state.audio.tokens.shape[1:]
        if self.tokens.shape != wanted:
            raise ShapeError(
                f"audio is {list(self.tokens.shape)} tokens; this sample wants {list(wanted)}, which is 25 a second. "
                f"Cut or pad the sound to the sample's length before encoding it."
            )
        tokens = self.tokens.to(state.audio.tokens).expand_as(state.audio.tokens)
        return replace(state, audio=state.audio.known(tokens, torch.ones_like(state.audio.clean)))


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
        """The state with the tokens of the conditioning places known.

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
        region: left, top, right, bottom as fractions of the video.
        grid: latent frames, rows and columns.
    """
    left, top, right, bottom = region
    rows, columns = (torch.arange(edge, dtype=torch.float64) for edge in (grid.height, grid.width))
    touched_rows = (rows < bottom * grid.height) & (rows + 1 > top * grid.height)
    touched_columns = (columns < right * grid.width) & (columns + 1 > left * grid.width)
    return 1 - (touched_rows[:, None] & touched_columns).float().expand(grid)


Conditioning = Text | FirstFrame | Prefix | Mask | WholeVideo | Sound | Reference

MODES: dict[str, tuple[type, ...]] = {
    "t2v": (),
    "i2v": (FirstFrame,),
    "s2v": (Sound,),
    "v2a": (WholeVideo,),
    "extend": (Prefix,),
    "inpaint": (Mask,),
    "reference": (Reference,),
}
"""What each mode is given beside its text."""
