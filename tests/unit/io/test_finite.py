"""NaN and infinity are found, and what is only large is not taken for them."""

from pathlib import Path

import pytest
import torch

from ltx_core.errors import CheckpointError
from ltx_core.io.tensors import finite_tensors, not_finite, write_tensors

KINDS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_number_is_enough(kind: torch.dtype, value: float) -> None:
    for place in (0, 500, 999):
        tensor = torch.ones(1000, dtype=kind)
        tensor[place] = value
        assert not_finite([("good", torch.ones(3)), ("bad", tensor)]) == ["bad"]


@pytest.mark.parametrize("kind", KINDS)
def test_large_finite_numbers_are_no_infinity(kind: torch.dtype) -> None:
    largest = torch.finfo(kind).max
    tensors = {"sum overflows": torch.full((1000,), largest, dtype=kind), "none": torch.empty(0, dtype=kind)}
    assert not not_finite(tensors.items())
    assert not not_finite([("both", torch.tensor([largest, -largest] * 9, dtype=kind))])


def test_whole_numbers_are_finite() -> None:
    assert not not_finite([("a", torch.ones(3, dtype=torch.int8)), ("b", torch.tensor([True]))])


def test_a_file_that_holds_one_is_named(tmp_path: Path) -> None:
    write_tensors(tmp_path / "adapter.safetensors", {"a": torch.ones(2), "b": torch.tensor([1.0, float("nan")])}, {})
    with pytest.raises(CheckpointError, match=r"adapter\.safetensors holds NaN or infinity in b"):
        finite_tensors(tmp_path / "adapter.safetensors")
