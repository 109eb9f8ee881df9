"""Every kind of conditioning, a frozen dataclass with `apply(state) -> state`. A new one is written and listed here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ltx_core.conditioning.reference import AudioReference, Reference
from ltx_core.conditioning.state import SampleState
from ltx_core.conditioning.whole_video import WholeVideo
from ltx_core.denoiser.tokens import pack_video, video_positions
from ltx_core.errors import ShapeError
from ltx_core.shapes import SPACE_STRIDE, TIME_STRIDE, LatentShape


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
    """Above 0. At 1 the frames are clean and stay as they are; below it they are kept in part (`StreamState`)."""

    def apply(self, state: SampleState) -> SampleState:
        """The state conditioned on the tokens of the first n latent frames.

        Raises:
            ShapeError: the frames are not as large as the sample, or leave nothing to generate.
            ConfigError: the strength is not above 0 and up to 1.
        """
        return _conditioned_on_frames(state, self.latent, self.strength, "first frame")


@dataclass(frozen=True)
class Suffix:
    """The last latent frames of a sample. Each but a sample's first stands for eight frames, with what came before."""

    latent: Tensor
    """As `Prefix.latent`, cut from the latent of a whole clip."""
    strength: float = 1.0
    """As `Prefix.strength`."""

    def apply(self, state: SampleState) -> SampleState:
        """The state conditioned on the tokens of the last n latent frames.

        Raises:
            ShapeError, ConfigError: as for `Prefix`.
        """
        return _conditioned_on_frames(state, self.latent, self.strength, "last frames", at_end=True)


def _conditioned_on_frames(
    state: SampleState, latent: Tensor, strength: float, what: str, *, at_end: bool = False
) -> SampleState:
    grid, channels = state.grid, state.video.tokens.shape[2]
    count = latent.shape[1] if latent.ndim == 4 else 0
    if tuple(latent.shape) != (channels, count, grid.height, grid.width) or not 0 < count < max(grid.frames, 2):
        raise ShapeError(
            f"{what} latent is {list(latent.shape)}; this sample wants [{channels}, n, {grid.height}, {grid.width}] "
            f"with n from 1 to {max(grid.frames - 1, 1)}. Resize and cut the frames to the sample's size before "
            f"encoding them."
        )
    frames = pack_video(latent[None].to(state.video.tokens))
    start = grid.tokens - frames.shape[1] if at_end else 0
    where = torch.ones(frames.shape[1], dtype=torch.bool)
    return replace(state, video=state.video.conditioned(frames, where, strength, start=start))


@dataclass(frozen=True)
class FirstFrame:
    """The first latent frame, which covers exactly one pixel frame."""

    latent: Tensor
    """[C, 1, H, W], normalised as `encode_video` gives it."""
    strength: float = 1.0
    """As `Prefix.strength`."""

    def apply(self, state: SampleState) -> SampleState:
        """The state conditioned on the tokens of latent frame 0.

        Raises:
            ShapeError: the frame is not as large as the sample.
            ConfigError: the strength is not above 0 and up to 1.
        """
        if self.latent.ndim != 4 or self.latent.shape[1] != 1:
            raise ShapeError(f"first frame latent is {list(self.latent.shape)}; [C, 1, H, W] is wanted")
        return Prefix(self.latent, self.strength).apply(state)


@dataclass(frozen=True)
class WholeAudio:
    """All audio tokens of the sample. The whole stream is then at sigma 0."""

    tokens: Tensor
    """[A, D], normalised and packed as `encode_audio` gives them."""

    def apply(self, state: SampleState) -> SampleState:
        """The state conditioned on every audio token.

        Raises:
            ShapeError: the audio is not as long as the sample.
        """
        return _conditioned_on_audio(state, self.tokens, torch.ones(len(self.tokens), dtype=torch.bool))


Sound = WholeAudio
"""Its earlier name, for the modules that are not renamed yet."""


@dataclass(frozen=True)
class AudioMask:
    """The sample's audio, of which some times are conditioning: its beginning, its end, or all but a span."""

    tokens: Tensor
    """As `WholeAudio.tokens`; anything where there is no conditioning."""
    where: Tensor
    """[A]; above 0.5 where the audio is conditioning, the rest is generated."""
    strength: float = 1.0
    """As `Prefix.strength`."""

    def apply(self, state: SampleState) -> SampleState:
        """The state conditioned on the audio tokens of these times.

        Raises:
            ShapeError: the audio or the mask is not as long as the sample, or nothing is left to generate.
            ConfigError: the strength is not above 0 and up to 1.
        """
        where = self.where > THRESHOLD
        if bool(where.all()):
            raise ShapeError("the mask keeps all of the audio; leave a time at 0.5 or below for the model to generate")
        return _conditioned_on_audio(state, self.tokens, where, self.strength)


def _conditioned_on_audio(state: SampleState, tokens: Tensor, where: Tensor, strength: float = 1.0) -> SampleState:
    audio, count = state.audio, state.audio.num_own
    wanted = (count, audio.tokens.shape[2])
    if tuple(tokens.shape) != wanted or tuple(where.shape) != (count,):
        raise ShapeError(
            f"audio is {list(tokens.shape)} tokens under a mask of {list(where.shape)}; this sample wants "
            f"{list(wanted)}, which is 25 a second. Cut or pad the audio to the sample's length before encoding it."
        )
    return replace(state, audio=audio.conditioned(tokens[None], where, strength))


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
    """Keyframes: single frames of the sample, each encoded by itself. They are appended to the tokens of the video,
    each at its own time.

    Source: Lightricks' inference, which gives every image but that of the first frame so. A latent frame in the middle
    of a video stands for eight frames, so one frame cannot take its place.
    """

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


THRESHOLD = 0.5
"""Above it a place is conditioning. Source: Lightricks' trainer."""


@dataclass(frozen=True)
class Mask:
    """A latent of the sample's size of which some places are conditioning."""

    latent: Tensor
    """[C, F, H, W], normalised as `encode_video` gives it."""
    where: Tensor
    """[F, H, W]; above 0.5 where the latent is conditioning, the rest is generated."""
    strength: float = 1.0
    """As `Prefix.strength`."""

    def apply(self, state: SampleState) -> SampleState:
        """The state conditioned on the tokens of these places.

        Raises:
            ShapeError: latent or mask is not as large as the sample, or nothing is left to generate.
            ConfigError: the strength is not above 0 and up to 1.
        """
        video, grid = state.video, state.grid
        wanted = (video.tokens.shape[2], *grid)
        if tuple(self.latent.shape) != wanted:
            raise ShapeError(f"latent under the mask is {list(self.latent.shape)}; this sample wants {list(wanted)}")
        tokens = pack_video(self.latent[None].to(video.tokens))
        return replace(state, video=video.conditioned(tokens, mask_tokens(self.where, grid), self.strength))


def mask_tokens(mask: Tensor, grid: LatentShape) -> Tensor:
    """Tokens under a mask [F, H, W]: bool [T].

    Raises:
        ShapeError: the mask is not as large as the grid, or covers all of it.
    """
    if tuple(mask.shape) != tuple(grid):
        raise ShapeError(f"mask is {list(mask.shape)}; {list(grid)} latent frames, rows and columns are wanted")
    where = (mask > THRESHOLD).flatten()
    if bool(where.all()):
        raise ShapeError("the mask keeps every place; leave one at 0.5 or below for the model to generate")
    return where


def kept_places(kept: Tensor, grid: LatentShape) -> Tensor:
    """A mask of pixels [rows, columns] as one of latent places [F, H, W], the same in every frame.

    A place is conditioning only if every one of its 32x32 pixels is above `THRESHOLD`: of a place that is partly to be
    generated, the latent would still show what was there.

    Raises:
        ShapeError: the mask is not as large as the sample's pixels.
    """
    wanted = (grid.height * SPACE_STRIDE, grid.width * SPACE_STRIDE)
    if tuple(kept.shape) != wanted:
        raise ShapeError(f"mask of pixels is {list(kept.shape)}; {list(wanted)} rows and columns are wanted")
    cells = (kept > THRESHOLD).view(grid.height, SPACE_STRIDE, grid.width, SPACE_STRIDE)
    return cells.all(dim=3).all(dim=1).float().expand(grid).contiguous()


def outside(region: tuple[float, float, float, float], grid: LatentShape) -> Tensor:
    """Places [F, H, W] outside a region are conditioning, those that it touches are generated.

    Args:
        region: left, top, right, bottom as fractions of the video.
        grid: latent frames, rows and columns.
    """
    left, top, right, bottom = region
    rows, columns = (torch.arange(edge, dtype=torch.float64) for edge in (grid.height, grid.width))
    touched_rows = (rows < bottom * grid.height) & (rows + 1 > top * grid.height)
    touched_columns = (columns < right * grid.width) & (columns + 1 > left * grid.width)
    return 1 - (touched_rows[:, None] & touched_columns).float().expand(grid)


def inside(region: tuple[float, float, float, float], grid: LatentShape) -> Tensor:
    """Places [F, H, W] that lie in a region as a whole are conditioning, all others are generated.

    Args:
        region: left, top, right, bottom as fractions of the video.
        grid: latent frames, rows and columns.
    """
    left, top, right, bottom = region
    rows, columns = (torch.arange(edge, dtype=torch.float64) for edge in (grid.height, grid.width))
    inner_rows = (rows >= top * grid.height) & (rows + 1 <= bottom * grid.height)
    inner_columns = (columns >= left * grid.width) & (columns + 1 <= right * grid.width)
    return (inner_rows[:, None] & inner_columns).float().expand(grid)


OfVideo = FirstFrame | Prefix | Suffix | Mask | WholeVideo | Keyframes | Reference
Conditioning = Text | OfVideo | WholeAudio | AudioMask | AudioReference

MODES: dict[str, tuple[type, ...]] = {
    "t2v": (),
    "t2a": (),
    "i2v": (FirstFrame,),
    "s2v": (WholeAudio,),
    "v2a": (WholeVideo,),
    "extend": (Prefix,),
    "inpaint": (Mask,),
    "reference": (Reference,),
}
"""The conditioning of each mode, beside its text."""
