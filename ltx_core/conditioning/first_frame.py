"""A known first frame: image to video."""

from dataclasses import dataclass

from torch import Tensor

from ltx_core.conditioning.prefix import Prefix
from ltx_core.conditioning.state import SampleState
from ltx_core.errors import ShapeError


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
