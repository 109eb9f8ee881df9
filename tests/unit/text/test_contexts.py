from typing import Any

import pytest
import torch

from ltx_core.checkpoint.load import load_connectors
from ltx_core.checkpoint.model import Model
from ltx_core.errors import ShapeError
from ltx_core.text.contexts import text_contexts


@pytest.fixture
def connectors(checkpoint: Model) -> Any:
    return load_connectors(checkpoint, device="cpu", dtype=torch.float32)


def caption(checkpoint: Model, tokens: int, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    if checkpoint.generation == "2.0":
        return {"features": torch.randn(tokens, 32, generator=generator)}
    video, audio = (torch.randn(tokens, width, generator=generator) for width in (32, 16))
    return {"video_features": video, "audio_features": audio}


def test_a_context_does_not_depend_on_its_batch(checkpoint: Model, connectors: Any) -> None:
    captions = [caption(checkpoint, tokens, seed) for seed, tokens in enumerate((3, 128, 40))]
    together = text_contexts(connectors, captions, length=128)
    for index, sample in enumerate(captions):
        for whole, alone in zip(together, text_contexts(connectors, [sample], length=128), strict=True):
            assert whole.shape[1] == 128
            assert whole[index].equal(alone[0])


def test_the_default_length_is_that_of_inference(checkpoint: Model, connectors: Any) -> None:
    video, audio = text_contexts(connectors, [caption(checkpoint, 3, 0)])
    assert video.shape == (1, 1024, 32)
    assert audio.shape[:2] == (1, 1024)


def test_registers_fill_the_padding_by_position(checkpoint: Model, connectors: Any) -> None:
    """Giving the registers as if they were the caption's own tokens changes nothing."""
    sample = caption(checkpoint, 3, 0)
    filled = {
        name: torch.cat([value, connectors[connector].learnable_registers[3:]])
        for name, value in sample.items()
        for connector in ("audio_connector" if name == "audio_features" else "video_connector",)
    }
    found, expected = text_contexts(connectors, [sample], length=128), text_contexts(connectors, [filled], length=128)
    torch.testing.assert_close(found[0], expected[0])


@pytest.mark.parametrize(("tokens", "length"), [(129, 128), (3, 130)])
def test_lengths_that_do_not_fit_are_refused(checkpoint: Model, connectors: Any, tokens: int, length: int) -> None:
    with pytest.raises(ShapeError, match=f"{tokens} tokens at length {length} with 128 registers"):
        text_contexts(connectors, [caption(checkpoint, tokens, 0)], length=length)


def test_features_of_another_kind_are_refused(connectors: Any) -> None:
    with pytest.raises(ShapeError, match="neither features nor video_features"):
        text_contexts(connectors, [{"audio_features": torch.zeros(3, 16)}])
