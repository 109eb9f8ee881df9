"""What one stream, video or audio, brings to a forward of the transformer."""

from dataclasses import dataclass

import torch

from ltx_core.errors import ShapeError


@dataclass(frozen=True)
class Stream:
    """One modality of a batch. Letters as in ltx_core/shapes.py; T counts this stream's tokens.

    `sigma` is the sample's noise level; `timesteps` is what each token is told, 0 for clean tokens. Where no token
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
