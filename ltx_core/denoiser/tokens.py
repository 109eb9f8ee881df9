"""Tokens of both streams: what a forward is given of each, how video latents become tokens, and where tokens lie."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch

from ltx_core.errors import ShapeError
from ltx_core.shapes import AUDIO_RATE, AUDIO_STRIDE, MEL_HOP, SPACE_STRIDE, TIME_STRIDE, LatentShape


@dataclass(frozen=True)
class Stream:
    """One modality of a batch. Letters as in ltx_core/shapes.py; T counts this stream's tokens.

    `sigma` is the sample's noise level; `timesteps` is that of each token, 0 for clean tokens. Where no token
    differs give [B], which costs one modulation vector a sample and not one a token.
    """

    tokens: torch.Tensor
    """[B, T, C] noisy tokens; velocities come back in this dtype."""
    timesteps: torch.Tensor
    """[B] or [B, T] in [0, 1]."""
    sigma: torch.Tensor
    """[B] in [0, 1]; drives the prompt modulation (2.3+) and the other stream's cross-modal gate."""
    context: torch.Tensor
    """[B, S, D] text after the connector; every position is valid."""
    positions: torch.Tensor
    """Video [B, 3, T, 2]: seconds, pixel row, pixel column. Audio [B, 1, T, 2]: seconds. [start, end)."""
    keyframes: torch.Tensor | None = None
    """[B, T, 1], 1 on video tokens that show a single pixel frame. Wanted by 2.5, ignored by what came before."""

    def __post_init__(self) -> None:
        """Hold the parts to one batch size and one token count.

        Raises:
            ShapeError: a part does not fit the tokens; names it and the shape wanted.
        """
        if self.tokens.ndim != 3:
            raise ShapeError(f"tokens are {list(self.tokens.shape)}; [B, T, C] is wanted. Pack latents first.")
        batch, count = self.tokens.shape[:2]
        self._want("sigma", self.sigma, [batch])
        self._want("timesteps", self.timesteps, [batch], [batch, count])
        self._want("positions", self.positions, [batch, 3, count, 2], [batch, 1, count, 2])
        self._want("context", self.context, [batch, *self.context.shape[1:3]])
        if self.keyframes is not None:
            self._want("keyframes", self.keyframes, [batch, count, 1])

    def _want(self, name: str, value: torch.Tensor, *shapes: list[int]) -> None:
        if list(value.shape) not in shapes:
            wanted = " or ".join(map(str, shapes))
            raise ShapeError(f"{name} is {list(value.shape)}; {wanted} is wanted for tokens {list(self.tokens.shape)}")


def joined(streams: Sequence[Stream]) -> Stream:
    """The batch of these batches, in their order; they have the same number of tokens, and either all have keyframes or
    none has."""
    if len(streams) == 1:
        return streams[0]
    parts: dict[str, Any] = {part.name: [getattr(stream, part.name) for stream in streams] for part in fields(Stream)}
    together: dict[str, Any] = {n: None if tensors[0] is None else torch.cat(tensors) for n, tensors in parts.items()}
    return Stream(**together)


def pack_video(latents: torch.Tensor) -> torch.Tensor:
    """[B, C, F, H, W] to tokens [B, F*H*W, C], width fastest.

    Raises:
        ShapeError: latents are not five-dimensional.
    """
    if latents.ndim != 5:
        raise ShapeError(f"video latents are {list(latents.shape)}; [B, C, F, H, W] is wanted")
    return latents.flatten(2).transpose(1, 2)


def unpack_video(tokens: torch.Tensor, shape: LatentShape) -> torch.Tensor:
    """Tokens [B, F*H*W, C] to [B, C, F, H, W]; the inverse of `pack_video`.

    Raises:
        ShapeError: the tokens are not as many as the shape has.
    """
    if tokens.ndim != 3 or tokens.shape[1] != shape.tokens:
        raise ShapeError(f"tokens are {list(tokens.shape)}; [B, {shape.tokens}, C] is wanted for {shape}")
    return tokens.transpose(1, 2).unflatten(2, tuple(shape))


def video_positions(
    shape: LatentShape, frame_rate: float, batch: int = 1, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Bounds [start, end) of video tokens, [B, 3, T, 2]: seconds, pixel row, pixel column, in float32.

    The VAE is causal: latent frame 0 is pixel frame 0 alone, latent frame f > 0 is pixel frames 8f-7 to 8f.
    `frame_rate` is that of the frames the latent was made from, after resampling: the model is conditioned on it.
    """
    frames = _bounds(shape.frames, TIME_STRIDE, device)
    seconds = (frames + (1 - TIME_STRIDE)).clamp(min=0) / frame_rate
    rows, columns = (_bounds(count, SPACE_STRIDE, device) for count in (shape.height, shape.width))
    grid = (shape.frames, shape.height, shape.width, 2)
    axes = [
        seconds[:, None, None].expand(grid),
        rows[None, :, None].expand(grid),
        columns[None, None, :].expand(grid),
    ]
    return torch.stack(axes).reshape(1, 3, shape.tokens, 2).repeat(batch, 1, 1, 1)


def audio_positions(num_tokens: int, batch: int = 1, device: torch.device | str = "cpu") -> torch.Tensor:
    """Bounds [start, end) of audio tokens in seconds, [B, 1, A, 2], in float32; token 0 covers one mel frame."""
    mel_frames = (_bounds(num_tokens, AUDIO_STRIDE, device) + (1 - AUDIO_STRIDE)).clamp(min=0)
    return (mel_frames * MEL_HOP / AUDIO_RATE)[None, None].repeat(batch, 1, 1, 1)


def first_frame_keyframes(shape: LatentShape, batch: int = 1, device: torch.device | str = "cpu") -> torch.Tensor:
    """Mark the tokens of the first latent frame, the only one that is a single pixel frame: [B, T, 1], 1 or 0.

    Lightricks' inference passes this for every LTX-2.5 video. Reference tokens appended later stay unmarked.
    """
    marks = torch.zeros(batch, shape.tokens, 1, device=device)
    marks[:, : shape.height * shape.width] = 1
    return marks


def _bounds(count: int, stride: int, device: torch.device | str) -> torch.Tensor:
    """[count, 2]: start and end of each of `count` steps of `stride`."""
    start = torch.arange(count, dtype=torch.float32, device=device) * stride
    return torch.stack([start, start + stride], dim=-1)
