"""A known first frame: image to video."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ltx_core.conditioning.state import SampleState
from ltx_core.denoiser.packing import pack_video
from ltx_core.errors import ShapeError


@dataclass(frozen=True)
class FirstFrame:
    """The first latent frame, which covers exactly one pixel frame."""

    latent: Tensor
    """[C, 1, H, W], normalised as `encode_video` gives it."""

    def apply(self, state: SampleState) -> SampleState:
        """The state with the tokens of latent frame 0 known.

        Raises:
            ShapeError: the frame is not as large as the sample.
        """
        _, num_tokens, channels = state.video.tokens.shape
        wanted = (channels, 1, state.grid.height, state.grid.width)
        if tuple(self.latent.shape) != wanted:
            raise ShapeError(
                f"first frame latent is {list(self.latent.shape)}; this sample wants {list(wanted)}. "
                f"Resize the image to the sample's size before encoding it."
            )
        frame = pack_video(self.latent[None].to(state.video.tokens))
        tokens = state.video.tokens.clone()
        tokens[:, : frame.shape[1]] = frame
        where = torch.arange(num_tokens, device=tokens.device).expand(tokens.shape[:2]) < frame.shape[1]
        return replace(state, video=state.video.known(tokens, where))
