"""A known sound track: sound to video."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ltx_core.conditioning.state import SampleState
from ltx_core.errors import ShapeError


@dataclass(frozen=True)
class Sound:
    """All audio tokens of the sample. The whole stream is then at sigma 0."""

    tokens: Tensor
    """[A, D], normalised and packed as `encode_audio` gives them."""

    def apply(self, state: SampleState) -> SampleState:
        """The state with every audio token known.

        Raises:
            ShapeError: the sound is not as long as the sample.
        """
        wanted = state.audio.tokens.shape[1:]
        if self.tokens.shape != wanted:
            raise ShapeError(
                f"sound is {list(self.tokens.shape)} tokens; this sample wants {list(wanted)}, which is 25 a second. "
                f"Cut or pad the sound to the sample's length before encoding it."
            )
        tokens = self.tokens.to(state.audio.tokens).expand_as(state.audio.tokens)
        return replace(state, audio=state.audio.known(tokens, torch.ones_like(state.audio.clean)))
