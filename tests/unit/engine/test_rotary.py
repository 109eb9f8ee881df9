"""The rotary embedding that compiles well is diffusers' own."""

import pytest
import torch
from diffusers.models.transformers.transformer_ltx2 import apply_interleaved_rotary_emb, apply_split_rotary_emb

from ltx_core.engine.attention import rotate_interleaved, rotate_split

BATCH, HEADS, TOKENS, HALF = 2, 3, 5, 4
WIDTH = HEADS * 2 * HALF
SPLIT, INTERLEAVED = (BATCH, HEADS, TOKENS, HALF), (BATCH, TOKENS, WIDTH)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("ours", "theirs", "table"),
    [(rotate_split, apply_split_rotary_emb, SPLIT), (rotate_interleaved, apply_interleaved_rotary_emb, INTERLEAVED)],
    ids=["split", "interleaved"],
)
def test_values_and_gradients_are_those_of_diffusers(
    ours: object, theirs: object, table: tuple[int, ...], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    angles = torch.rand(table) * 6
    rotary = (angles.cos(), angles.sin())  # any angles: the two of an interleaved pair need not agree
    tokens = torch.randn(BATCH, TOKENS, WIDTH).to(dtype)
    weight = torch.randn(BATCH, TOKENS, WIDTH)
    found = []
    for rotate in (ours, theirs):
        given = tokens.clone().requires_grad_()
        turned = rotate(given, rotary)  # type: ignore[operator]
        assert turned.dtype == dtype
        (turned.float() * weight).sum().backward()
        assert given.grad is not None
        found.append((turned.detach(), given.grad))
    tolerance = 1e-6 if dtype == torch.float32 else 2**-7  # one rounding more or less
    torch.testing.assert_close(found[0], found[1], atol=tolerance, rtol=tolerance)
    assert not torch.equal(found[0][0], tokens)
