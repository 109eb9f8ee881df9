"""Captions in packs: no token is padding, and the company does not show."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltx_core.checkpoint.model import Model
from ltx_core.errors import ConfigError
from ltx_core.text.gemma import TextEncoder, TextProjection, embed_captions, load_text_projection
from ltx_core.text.packing import Pack, pack_captions

TEXTS = ("", "a robot dancing", "a dog", "two robots dancing in the rain at night", "a cat", "a robot dancing slowly")
WINDOW = 16
"""Of the tiny Gemma's sliding layers."""


@pytest.fixture
def projection(checkpoint: Model) -> TextProjection:
    return load_text_projection(checkpoint, device="cpu", dtype=torch.float32)


@settings(deadline=None)  # the first example pays for imports
@given(st.lists(st.integers(1, 100), max_size=60), st.integers(100, 400))
def test_every_caption_is_in_one_pack_and_packs_are_full(lengths: list[int], num_tokens: int) -> None:
    packs = pack_captions(lengths, num_tokens)
    assert sorted(place for pack in packs for place in pack.captions) == list(range(len(lengths)))
    for pack in packs:
        assert pack.lengths == tuple(lengths[place] for place in pack.captions)
        assert sum(pack.lengths) <= pack.num_tokens == num_tokens
    for pack, following in pairwise(packs):
        assert sum(pack.lengths) + following.lengths[0] > num_tokens
    assert [length for pack in packs for length in pack.lengths] == sorted(lengths)


def test_equal_lengths_are_one_batch() -> None:
    (pack,) = pack_captions([5, 3, 5, 5, 3, 9], 100)
    assert pack.captions == (1, 4, 0, 2, 3, 5)
    assert pack.runs == [(2, 3), (3, 5), (1, 9)]


def test_a_caption_longer_than_a_pack_is_refused() -> None:
    with pytest.raises(ConfigError, match="11 tokens does not fit a pack of 10"):
        pack_captions([3, 11], 10)


def test_packed_states_are_those_of_captions_run_one_by_one(encoder: TextEncoder) -> None:
    """Against transformers' own attention, with captions longer than the sliding window among them."""
    captions = [encoder.token_ids(text) for text in (*TEXTS, TEXTS[3] * 3)]
    assert any(len(ids) > WINDOW for ids in captions)
    (pack,) = pack_captions([len(ids) for ids in captions], 1024)
    packed = list(encoder.packed_states(captions, pack))
    try:
        encoder.model.set_attn_implementation("eager")
        for place, found in zip(pack.captions, packed, strict=True):
            ids = captions[place]
            positions = torch.arange(1024 - len(ids), 1024)[None]
            with torch.no_grad():
                right = encoder.model(
                    input_ids=torch.tensor([ids]), position_ids=positions, output_hidden_states=True, use_cache=False
                )
            torch.testing.assert_close(found, torch.stack(right.hidden_states, dim=-1)[0], atol=2e-5, rtol=2e-5)
    finally:
        encoder.model.set_attn_implementation("ltx2_packed_captions")


def test_features_are_the_same_bits_in_any_company(encoder: TextEncoder, projection: TextProjection) -> None:
    captions = [encoder.token_ids(text) for text in TEXTS]
    together = dict(embed_captions(encoder, projection, captions))
    assert together.keys() == set(range(len(TEXTS)))
    for place, features in together.items():
        others = [captions[place], *captions[place % 3 :: 2]]
        among = dict(embed_captions(encoder, projection, others))
        for name, value in features.items():
            assert value.equal(among[0][name])


def test_filler_is_seen_by_nobody(encoder: TextEncoder) -> None:
    captions = [encoder.token_ids(TEXTS[1]), encoder.token_ids(TEXTS[3])]
    lengths = tuple(map(len, captions))
    tight, loose = (Pack((0, 1), lengths, sum(lengths) + filler) for filler in (0, 500))
    for found, right in zip(
        encoder.packed_states(captions, loose), encoder.packed_states(captions, tight), strict=True
    ):
        torch.testing.assert_close(found, right, atol=2e-6, rtol=2e-6)


def test_every_pack_has_as_many_rows(encoder: TextEncoder, projection: TextProjection) -> None:
    """One shape for every product, whatever a pack holds: what makes company not show."""
    rows = []
    hook = encoder.model.layers[0].mlp.register_forward_hook(lambda _m, inputs, _o: rows.append(inputs[0].shape[1]))
    captions = [encoder.token_ids(text) for text in (*TEXTS, "a robot " * 600)]
    list(embed_captions(encoder, projection, captions, pack_tokens=1024))
    hook.remove()
    assert rows == [1024, 1024]
