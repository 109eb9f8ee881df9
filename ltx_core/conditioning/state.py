"""The state of a sample while it is made: tokens of each stream, which of them are known, and the text they follow."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ltx_core.shapes import LatentShape


@dataclass(frozen=True)
class StreamState:
    """One stream, video or audio."""

    tokens: Tensor
    """[B, T, C] fp32: noise at first, data at the end; known tokens hold data throughout."""
    clean: Tensor
    """[B, T] bool: tokens that are known. They are shown to the model at timestep 0 and never change."""
    leaning: "Leaning | None" = None
    """What tokens that are known in part lean to; none of them in `clean`."""
    context: Tensor | None = None
    """[B, S, D] text context, once a text is applied."""
    appended: Tensor | None = None
    """[1, 3, R, 2] positions of the last R tokens, if these are not of the sample but beside it, as a reference is."""

    def known(self, tokens: Tensor, where: Tensor) -> "StreamState":
        """This stream with `tokens` [B, T, C] put `where` [B, T] is true, and held from now on."""
        return replace(self, tokens=torch.where(where[..., None], tokens, self.tokens), clean=self.clean | where)

    def to(self, device: torch.device) -> "StreamState":
        """This stream on a device; the context stays where it is."""
        leaning = None if self.leaning is None else self.leaning.to(device)
        appended = None if self.appended is None else self.appended.to(device)
        tokens, clean = self.tokens.to(device), self.clean.to(device)
        return replace(self, tokens=tokens, clean=clean, leaning=leaning, appended=appended)


@dataclass(frozen=True)
class Leaning:
    """Tokens that are given with a strength between 0 and 1: they start nearer to what is given, are shown to the model
    at (1 - strength) times the noise level, and every prediction of them is pulled to it by the strength.

    Source: Lightricks' inference, where a picture has a strength.
    """

    tokens: Tensor
    """[B, T, C]: what is given; anything where the strength is 0."""
    strength: Tensor
    """[B, T], 0 where nothing is given."""

    def mixed(self, tokens: Tensor) -> Tensor:
        """`tokens` [B, T, C], noise or a prediction, moved towards what is given by the strength."""
        share = self.strength[..., None]
        return torch.where(share > 0, (1 - share) * tokens + share * self.tokens, tokens)

    def to(self, device: torch.device) -> "Leaning":
        return Leaning(self.tokens.to(device), self.strength.to(device))


@dataclass(frozen=True)
class SampleState:
    """Both streams of a sample, and the grid that its video tokens lie on."""

    video: StreamState
    audio: StreamState
    grid: LatentShape
