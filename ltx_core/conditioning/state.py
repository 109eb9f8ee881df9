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
    context: Tensor | None = None
    """[B, S, D] text context, once a text is applied."""

    def known(self, tokens: Tensor, where: Tensor) -> "StreamState":
        """This stream with `tokens` [B, T, C] put `where` [B, T] is true, and held from now on."""
        return replace(self, tokens=torch.where(where[..., None], tokens, self.tokens), clean=self.clean | where)


@dataclass(frozen=True)
class SampleState:
    """Both streams of a sample, and the grid that its video tokens lie on."""

    video: StreamState
    audio: StreamState
    grid: LatentShape
