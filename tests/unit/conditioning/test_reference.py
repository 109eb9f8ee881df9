"""A reference in sampling: what the transformer is given is what it is trained on, and the sample alone comes out."""

import pytest
import torch
from torch import Tensor

from ltx_core.conditioning.kinds import FirstFrame, Text
from ltx_core.conditioning.reference import Reference, reference_positions
from ltx_core.denoiser.tokens import pack_video, video_positions
from ltx_core.errors import ShapeError
from ltx_core.sampling.guidance import Guidance
from ltx_core.sampling.sampler import Prompts, Walk, initial_state
from ltx_core.shapes import LatentShape, ReferenceScale

GRID, SMALL = LatentShape(2, 2, 4), LatentShape(2, 1, 2)
CHANNELS, RATE = 4, 25.0


def latent(shape: LatentShape) -> Tensor:
    return torch.randn(CHANNELS, *shape, generator=torch.Generator().manual_seed(1))


def test_tokens_come_after_those_of_the_sample_and_stay() -> None:
    """Positions are those of `tests/golden/reference_conditioning.json`, since `reference_positions` gives both."""
    text = Text(torch.zeros(1, 1, 6), torch.zeros(1, 1, 6))
    state = initial_state(3, GRID, CHANNELS, 9, 8)
    first, small = latent(GRID)[:, :1], latent(SMALL)
    given = Reference(small, RATE).apply(FirstFrame(first).apply(text.apply(state)))
    walk = Walk(None, Prompts(text), Guidance(), RATE)  # type: ignore[arg-type]  # no forward is run
    video, audio = walk.streams(given, 0.5)
    count = GRID.tokens
    assert torch.equal(video.tokens[:, count:], pack_video(small[None]))
    assert torch.equal(video.tokens[:, 8:count], state.video.tokens[:, 8:])
    assert video.timesteps[0].tolist() == [0.0] * 8 + [0.5] * 8 + [0.0] * SMALL.tokens
    own = video_positions(GRID, RATE)
    assert torch.equal(video.positions, torch.cat([own, reference_positions(SMALL, ReferenceScale(2), RATE)], dim=2))
    assert video.positions[0, 1:, count:].amax() == video.positions[0, 1:, :count].amax(), "all over the frame"
    assert video.keyframes is not None
    assert video.keyframes[0, :, 0].tolist() == [1.0] * 8 + [0.0] * (8 + SMALL.tokens)
    assert audio.timesteps.tolist() == [0.5]


@pytest.mark.parametrize("wrong", [(3, *SMALL), (CHANNELS, 3, 1, 2), (CHANNELS, 2, 2, 3)])
def test_what_does_not_fit_is_refused(wrong: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="wanted"):
        Reference(torch.zeros(wrong), RATE).apply(initial_state(3, GRID, CHANNELS, 9, 8))
