"""The way of a rollout: one stream from a noisier level to its own, by steps whose velocities somebody else gives."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ltx_core.flow_matching.rollout import on_straight_path, target_off_path
from ltx_core.training.batch import NoisyStream


class Travel(NamedTuple):
    """How samples of one stream came to where they are, [B] each; 0 for those that were not rolled out."""

    offset: Tensor
    """Noise that the model took away, in sigma."""
    drift: Tensor
    """Root mean square, over tokens that are not given, of the distance to the straight path."""


@dataclass(frozen=True)
class Way:
    """The way of one stream's samples from noise level `source`, [B], to their own."""

    stream: NoisyStream
    source: Tensor

    def level(self, done: float) -> Tensor:
        """The noise level [B] when so much of the way is done."""
        return torch.lerp(self.source, self.stream.sigma, done)

    def start(self) -> Tensor:
        """The tokens at the source, on the straight path; as they are where they are given."""
        x = self.stream
        return torch.where(x.given[:, :, None], x.noisy, on_straight_path(x.noisy, x.target, x.sigma, self.source))

    def at(self, tokens: Tensor, done: float) -> NoisyStream:
        """What the model is told on the way."""
        level, times = self.level(done), self.stream.timesteps
        if times.ndim == 2:
            level_by_token = level[:, None].expand_as(times).masked_fill(self.stream.given, 0.0)
        else:
            level_by_token = level
        return replace(self.stream, noisy=tokens, sigma=level, timesteps=level_by_token)

    def step(self, tokens: Tensor, velocity: Tensor, done: float, then: float) -> Tensor:
        """Euler's step from `done` to `then` of the way, in float32."""
        length = (self.level(then) - self.level(done))[:, None, None]
        return torch.where(self.stream.given[:, :, None], tokens, tokens + length * velocity.float())

    def arrived(self, tokens: Tensor) -> NoisyStream:
        """The stream where the model brought it, and the velocity from there to the data."""
        target = target_off_path(self.stream.target, tokens - self.stream.noisy, self.stream.sigma)
        return replace(self.stream, noisy=tokens, target=target)

    def travel(self, tokens: Tensor, rows: Tensor, size: int) -> Travel:
        """Of these samples, which are `rows` of a batch of `size`."""
        moving = ~self.stream.given[:, :, None]
        count = (moving.sum(dim=(1, 2)) * tokens.shape[2]).clamp(min=1)
        drift = ((tokens - self.stream.noisy).square() * moving).sum(dim=(1, 2)) / count
        return Travel(*(spread(x, rows, size) for x in (self.source - self.stream.sigma, drift.sqrt())))


def spread(values: Tensor, rows: Tensor, size: int) -> Tensor:
    """Values of the samples at `rows` in a batch of `size`, zeros elsewhere."""
    return values.new_zeros(size, *values.shape[1:]).index_copy(0, rows, values)
