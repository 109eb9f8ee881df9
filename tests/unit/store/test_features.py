"""What a caption takes on disk, at the released sizes."""

import pytest
import torch

from benchmarks import released
from ltx_core.errors import DataError
from ltx_core.store.features import store_features, stored_features
from ltx_core.store.tensor_items import pack_item

CAPTION_TOKENS = 200
MOST_BYTES = 2_000_000


def features(generation: str) -> dict[str, torch.Tensor]:
    """Normalised features of a 200-token caption: Gaussian, channels of unequal size."""
    section = released.transformer_section("2.0" if generation == "2.0" else "2.3")
    widths = {"features": section["caption_channels"]}
    if generation != "2.0":
        widths = {
            f"{stream}_features": section[f"{prefix}connector_num_attention_heads"]
            * section[f"{prefix}connector_attention_head_dim"]
            for stream, prefix in (("video", ""), ("audio", "audio_"))
        }
    generator = torch.Generator().manual_seed(0)
    return {
        name: (torch.randn(CAPTION_TOKENS, width, generator=generator) * torch.rand(width, generator=generator) * 4).to(
            torch.bfloat16
        )
        for name, width in widths.items()
    }


@pytest.mark.parametrize(
    ("generation", "plain_bytes"), [("2.0", 200 * 3840 * 2), ("2.3", 200 * 6144 * 2), ("2.5", 200 * 6144 * 2)]
)
def test_a_caption_of_200_tokens_takes_less_than_2_mb(generation: str, plain_bytes: int) -> None:
    made = features(generation)
    assert sum(value.nbytes for value in made.values()) == plain_bytes
    data, _ = pack_item(store_features(made))
    assert 0.5 * plain_bytes < len(data) < MOST_BYTES
    assert len(data) < 0.75 * plain_bytes


def test_nothing_is_lost() -> None:
    extremes = torch.tensor([0.0, -0.0, 1e-40, 3e38, -3e38, float("inf"), float("nan")], dtype=torch.bfloat16)
    made = {**features("2.3"), "one_token": extremes[None]}
    found = stored_features(store_features(made))
    assert found.keys() == made.keys()
    for name, value in made.items():
        assert found[name].view(torch.uint8).equal(value.view(torch.uint8))


def test_samples_of_another_kind_are_refused() -> None:
    with pytest.raises(DataError, match="no text features of this version"):
        stored_features({"features": torch.zeros(2, 3)})
    damaged = store_features({"features": torch.randn(4, 8).to(torch.bfloat16)})
    with pytest.raises(DataError, match="cannot be unpacked"):
        stored_features(damaged | {"features.high": torch.zeros(5, dtype=torch.uint8) + 7})
    with pytest.raises(DataError, match="bfloat16 is wanted"):
        store_features({"features": torch.zeros(2, 3)})
