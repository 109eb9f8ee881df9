"""Conditioning on a whole video, for which the model generates the audio."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ltx_core.conditioning.state import SampleState
from ltx_core.denoiser.tokens import pack_video
from ltx_core.errors import ShapeError


@dataclass(frozen=True)
class WholeVideo:
    """All video tokens of the sample. The whole stream is then at sigma 0."""

    latent: Tensor
    """[C, F, H, W], normalised as `encode_video` gives it."""

    def apply(self, state: SampleState) -> SampleState:
        """The state conditioned on every video token.

        Raises:
            ShapeError: the video is not as large or as long as the sample.
        """
        wanted = (state.video.tokens.shape[2], *state.grid)
        if tuple(self.latent.shape) != wanted:
            raise ShapeError(
                f"latent of the video to condition on is {list(self.latent.shape)}; this sample wants {list(wanted)}. "
                f"Resize and cut the video to the sample's size before encoding it."
            )
        tokens = pack_video(self.latent[None].to(state.video.tokens))
        return replace(state, video=state.video.conditioned(tokens, torch.ones(tokens.shape[1], dtype=torch.bool)))
