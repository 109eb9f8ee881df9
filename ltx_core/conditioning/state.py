"""The state of a sample: tokens of each stream, the strength of the conditioning on each, and the text they follow.

Sampling walks such a state from noise to data, and training noises the clips of a batch by it: what a kind of
conditioning does is written once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ltx_core.errors import ConfigError
from ltx_core.shapes import LatentShape

Modality = Literal["video", "audio"]


@dataclass(frozen=True)
class StreamState:
    """One stream, video or audio.

    A conditioning token of strength s starts as (1 - s) noise + s data, is shown to the model at (1 - s) times the
    noise level, and every prediction of it is pulled to the data by s. At 1 it is clean: it is at timestep 0 and never
    changes. Source: Lightricks' inference, whose denoise mask is 1 - s.
    """

    tokens: Tensor
    """[B, T, C] fp32: noise at first, data at the end."""
    strength: Tensor
    """[B, T] in [0, 1]; 0 where there is no conditioning."""
    data: Tensor | None = None
    """[B, T, C]: what conditioning tokens show; anything where the strength is 0. None without conditioning."""
    context: Tensor | None = None
    """[B, S, D] text context, once a text is applied."""
    appended: Tensor | None = None
    """[1, 3 or 1, R, 2] positions of the last R tokens, if these are not of the sample but beside it, as a reference
    is."""

    @classmethod
    def noise(cls, tokens: Tensor) -> "StreamState":
        """A stream without conditioning."""
        return cls(tokens.contiguous(), torch.zeros(tokens.shape[:2], device=tokens.device))

    @property
    def clean(self) -> Tensor:
        """[B, T] bool: conditioning tokens of strength 1."""
        return self.strength == 1

    @property
    def num_own(self) -> int:
        """Tokens of the sample itself."""
        return self.tokens.shape[1] - (0 if self.appended is None else self.appended.shape[2])

    def conditioned(self, tokens: Tensor, where: Tensor, strength: float = 1.0, *, start: int = 0) -> "StreamState":
        """This stream conditioned on `tokens` [1 or B, n, C], which take the places from `start` on, where `where`
        [n], [1, n] or [B, n] is true. A conditioning token that is there already stays as it is.

        Raises:
            ConfigError: the strength is not above 0 and up to 1.
        """
        taken = slice(start, start + tokens.shape[1])
        new, data = torch.zeros_like(self.strength, dtype=torch.bool), torch.zeros_like(self.tokens)
        new[:, taken], data[:, taken] = where.to(new.device), tokens.to(data)
        new &= self.strength == 0
        mixed = _mixed(self.tokens, data, strength)
        return replace(
            self,
            tokens=torch.where(new[..., None], mixed, self.tokens),
            strength=torch.where(new, strength, self.strength),
            data=data if self.data is None else torch.where(new[..., None], data, self.data),
        )

    def followed_by(self, tokens: Tensor, noise: Tensor, positions: Tensor, strength: float) -> "StreamState":
        """This stream with `tokens` [1 or B, R, C] beside it at `positions` [1, 3 or 1, R, 2]; noise has their shape.

        Raises:
            ConfigError: as for `conditioned`.
        """
        batch = len(self.tokens)
        tokens = tokens.to(self.tokens).expand(batch, -1, -1)
        mixed = _mixed(noise.to(tokens).expand_as(tokens), tokens, strength)
        positions = positions.to(tokens.device)
        return replace(
            self,
            tokens=torch.cat([self.tokens, mixed], dim=1),
            strength=torch.cat([self.strength, torch.full_like(tokens[..., 0], strength)], dim=1),
            data=torch.cat([self.tokens if self.data is None else self.data, tokens], dim=1),
            appended=positions if self.appended is None else torch.cat([self.appended, positions], dim=2),
        )

    def pulled(self, x0: Tensor) -> Tensor:
        """A prediction [B, T, C] moved towards what the conditioning shows, by its strength."""
        if self.data is None:
            return x0
        strength = self.strength[..., None]
        return torch.where(strength > 0, (1 - strength) * x0 + strength * self.data, x0)

    def to(self, device: torch.device) -> "StreamState":
        """This stream on a device; the context stays where it is."""
        data = None if self.data is None else self.data.to(device)
        appended = None if self.appended is None else self.appended.to(device)
        tokens, strength = self.tokens.to(device), self.strength.to(device)
        return replace(self, tokens=tokens, strength=strength, data=data, appended=appended)


def _mixed(noise: Tensor, tokens: Tensor, strength: float) -> Tensor:
    if not 0 < strength <= 1:
        raise ConfigError(f"strength of a conditioning is {strength}; above 0 and up to 1 is wanted")
    return tokens if strength == 1 else (1 - strength) * noise + strength * tokens


def no_noise(_place: str, shape: Sequence[int]) -> Tensor:
    """Zeros, where all that is appended is clean."""
    return torch.zeros(tuple(shape))


@dataclass(frozen=True)
class SampleState:
    """Both streams of a sample, and the grid that its video tokens lie on."""

    video: StreamState
    audio: StreamState
    grid: LatentShape
    noise: Callable[[str, Sequence[int]], Tensor] = no_noise
    """(place, shape) -> noise of tokens that are appended; the place tells apart what is."""

    def beside(self, modality: Modality, tokens: Tensor, positions: Tensor, strength: float) -> "SampleState":
        """The state with `tokens` [1, R, C] after those of a stream, at positions of their own.

        Raises:
            ConfigError: as for `StreamState.conditioned`.
        """
        stream: StreamState = getattr(self, modality)
        place = f"{modality}/{stream.tokens.shape[1]}"
        noise = torch.zeros_like(tokens) if strength == 1 else self.noise(place, tokens.shape)
        changed = stream.followed_by(tokens, noise, positions, strength)
        return replace(self, video=changed) if modality == "video" else replace(self, audio=changed)
