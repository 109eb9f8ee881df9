"""Blocks that have room are filled once, those in 8 bits from the others; after `forget` none is held."""

import weakref
from collections.abc import Sequence

import torch

from ltx_core.engine.assemble import Read
from ltx_core.engine.load import KeptBlocks
from ltx_core.engine.options import EngineOptions

FLOATS = 8
BYTES = 4 * FLOATS
NATIVE, INT8, FP8 = EngineOptions(), EngineOptions(precision="int8"), EngineOptions(precision="fp8")


class Filling:
    """Counts the blocks that are filled and the tensors that are read for them."""

    def __init__(self, room: int) -> None:
        self.read: list[str] = []
        self.made: list[tuple[int, str]] = []
        self.blocks = KeptBlocks(self._read, self._make, room)

    def _read(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        self.read.extend(names)
        return {name: torch.full((FLOATS,), 1.0) for name in names}

    def _make(self, index: int, options: EngineOptions, read: Read) -> torch.nn.Module:
        self.made.append((index, options.precision))
        block, name = torch.nn.Module(), f"transformer_blocks.{index}.weight"
        held = torch.float32 if options.precision == "native" else torch.int8
        block.weight = torch.nn.Parameter(read([name])[name].to(held), requires_grad=False)
        return block


def test_a_block_is_read_once_while_there_is_room() -> None:
    filling = Filling(2 * BYTES + 1)
    for _ in range(2):
        for index in range(3):
            filling.blocks(index, NATIVE)
    third = "transformer_blocks.2.weight"
    assert filling.read == ["transformer_blocks.0.weight", "transformer_blocks.1.weight", third, third]


def test_blocks_in_8_bits_are_made_once_and_of_what_was_read() -> None:
    filling = Filling(2 * BYTES + 2 * FLOATS)
    for options in (NATIVE, INT8, INT8):
        for index in range(2):
            filling.blocks(index, options)
    assert len(filling.read) == 2
    assert filling.made == [(0, "native"), (1, "native"), (0, "int8"), (1, "int8")]
    parts = filling.blocks.quantised()
    assert sorted(parts) == ["block-000", "block-001"]
    assert parts["block-001"]["weight"].tolist() == [1] * FLOATS


def test_other_options_take_the_room_of_those_before() -> None:
    filling = Filling(BYTES + FLOATS)
    for options in (NATIVE, INT8, FP8, FP8):
        filling.blocks(0, options)
    assert filling.made == [(0, "native"), (0, "int8"), (0, "fp8")]


def test_nothing_is_held_after_forgetting() -> None:
    filling = Filling(10 * BYTES)
    native, low = weakref.ref(filling.blocks(0, NATIVE).weight), weakref.ref(filling.blocks(0, INT8).weight)
    assert native() is not None
    filling.blocks.forget()
    assert native() is None
    assert low() is None
    filling.blocks(0, NATIVE)
    filling.blocks(0, NATIVE)
    assert len(filling.read) == 3
