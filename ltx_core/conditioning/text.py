"""Text: what every sample follows."""

from dataclasses import dataclass, replace

from torch import Tensor

from ltx_core.conditioning.state import SampleState


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
