"""Blocks that have room are read once; the others each time; after `forget` nothing is held."""

import weakref
from collections.abc import Sequence

import torch

from ltx_core.engine.load import KeptReads

FLOATS = 8
BYTES = 4 * FLOATS


def test_a_block_is_read_once_while_there_is_room() -> None:
    reads: list[str] = []

    def read(names: Sequence[str]) -> dict[str, torch.Tensor]:
        reads.extend(names)
        return {name: torch.full((FLOATS,), float(len(reads))) for name in names}

    kept = KeptReads(read, 2 * BYTES + 1)
    for _ in range(2):
        for name in ("first", "second", "third"):
            kept([name])
    assert reads == ["first", "second", "third", "third"]
    held = weakref.ref(kept(["first"])["first"])
    assert held() is not None
    kept.forget()
    assert held() is None
    kept(["first"])
    kept(["first"])
    assert reads[-2:] == ["first", "first"]
