"""The noise a sample starts from: a function of seed and shape alone, so every variant starts from the same."""

import torch
from torch import Tensor

from ltx_core.conditioning.state import SampleState, StreamState
from ltx_core.denoiser.packing import pack_video
from ltx_core.files.digest import text_digest
from ltx_core.shapes import LatentShape


def initial_state(
    seed: int, grid: LatentShape, video_channels: int, audio_tokens: int, audio_channels: int
) -> SampleState:
    """A sample at sigma 1 with nothing known, batch 1, on the CPU.

    Each stream has its own generator: the sound's noise does not depend on the picture's size. Noise is drawn on the
    CPU because generators of different devices give different numbers.
    """
    video = _normal(seed, "video", video_channels, *grid)
    audio = _normal(seed, "audio", audio_tokens, audio_channels)
    return SampleState(_unknown(pack_video(video[None])), _unknown(audio[None]), grid)


def _unknown(tokens: Tensor) -> StreamState:
    return StreamState(tokens.contiguous(), torch.zeros(tokens.shape[:2], dtype=torch.bool))


def _normal(seed: int, stream: str, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(int(text_digest("noise", stream, str(seed))[:15], 16))
    return torch.randn(shape, generator=generator, dtype=torch.float32)
