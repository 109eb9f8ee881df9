"""Weights in the on-disk formats of fp8 and nvfp4 against their exact values."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ltx_core.checkpoint.read import read_weights
from ltx_core.checkpoint.stored import StoredTensor, grouped
from ltx_core.io.safetensors import read_header
from tests.numerics.golden.conftest import GOLDEN

pytestmark = pytest.mark.numerics

PREFIX = "model.diffusion_model.transformer_blocks.0."
EXPECTED = {".weight": ".dequant_fp32", ".bias": ".bias_dequant_fp32"}


def read(path: Path, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    header = read_header(path)
    tensors = {name.removeprefix(PREFIX): StoredTensor(path, name, entry) for name, entry in header.tensors.items()}
    return read_weights(grouped(tensors), device="cpu", dtype=dtype)


def expected(scheme: str) -> dict[str, torch.Tensor]:
    """Values by the names that a state dict has them under."""
    values = load_file(GOLDEN / f"{scheme}_expected.safetensors")
    return {
        name.removesuffix(given) + ending: value
        for name, value in values.items()
        for ending, given in reversed(EXPECTED.items())
        if name.endswith(given)
    }


@pytest.mark.parametrize(("scheme", "count"), [("fp8", 6), ("nvfp4", 4)])
def test_no_scale_is_left_in_the_state_dict(scheme: str, count: int) -> None:
    names = read(GOLDEN / f"{scheme}.safetensors")
    assert len(names) == count
    assert {name.rpartition(".")[2] for name in names} == {"weight", "bias"}


@pytest.mark.parametrize(("scheme", "count"), [("fp8", 4), ("nvfp4", 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_are_exact(scheme: str, count: int, dtype: torch.dtype) -> None:
    """No difference at all, where 1e-6 is asked of nvfp4; in bfloat16 the exact value is rounded once."""
    found, wanted = read(GOLDEN / f"{scheme}.safetensors", dtype), expected(scheme)
    assert len(wanted) == count
    for name, value in wanted.items():
        assert found[name].equal(value.to(dtype)), name


@pytest.mark.parametrize("scheme", ["fp8", "nvfp4"])
def test_a_changed_scale_is_seen(scheme: str, tmp_path: Path) -> None:
    tensors = load_file(GOLDEN / f"{scheme}.safetensors")
    name = f"{PREFIX}attn1.to_q.weight_scale"
    flat = tensors[name].view(-1)
    flat[0] = flat[0].float() * 2
    save_file(tensors, tmp_path / "changed.safetensors")
    found, wanted = read(tmp_path / "changed.safetensors"), expected(scheme)
    assert not found["attn1.to_q.weight"].equal(wanted["attn1.to_q.weight"])
