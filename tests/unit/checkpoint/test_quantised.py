import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ltx_core.checkpoint.layouts import open_combined
from ltx_core.checkpoint.load import load_transformer
from ltx_core.checkpoint.read import PIECE_BYTES, read_weights, unswizzled
from ltx_core.errors import CheckpointError
from ltx_core.io.digest import DigestMemo

pytestmark = pytest.mark.whole

Tensors = dict[str, torch.Tensor]
Changed = Callable[[Callable[[Tensors, dict[str, str]], None]], Path]
FULL = {"device": "cpu", "dtype": torch.float32}
MODULE = "model.diffusion_model.transformer_blocks.0.attn1.to_q"
WEIGHT = f"{MODULE}.weight"
FOUND = "transformer_blocks.0.attn1.to_q"


def fp8(tensors: Tensors, metadata: dict[str, str]) -> None:
    values = tensors[WEIGHT].float()
    scale = values.abs().amax() / 448
    tensors[WEIGHT] = (values / scale).to(torch.float8_e4m3fn)
    tensors[f"{MODULE}.bias"] = tensors[f"{MODULE}.bias"].to(torch.float8_e4m3fn)
    tensors[f"{MODULE}.weight_scale"], tensors[f"{MODULE}.input_scale"] = scale, torch.tensor(3.0)


def test_an_fp8_checkpoint_loads_near_the_original(whole: Path, changed: Changed) -> None:
    original = load_transformer(open_combined(whole), **FULL).state_dict()
    found = load_transformer(open_combined(changed(fp8)), **FULL).state_dict()
    assert found.keys() == original.keys()
    for name, most in ((f"{FOUND}.weight", 0.04), (f"{FOUND}.bias", 0.05)):
        difference = (found[name] - original[name]).norm() / original[name].norm()
        assert 0 < difference < most
    others = [name for name in found if not name.startswith(FOUND)]
    assert all(found[name].equal(original[name]) for name in others)


def test_a_plain_cast_has_scale_one(changed: Changed) -> None:
    kept = {}

    def cast(tensors: Tensors, metadata: dict[str, str]) -> None:
        tensors[WEIGHT] = kept["weight"] = tensors[WEIGHT].to(torch.float8_e4m3fn)

    module = load_transformer(open_combined(changed(cast)), device="cpu", dtype=torch.bfloat16)
    assert module.get_parameter(f"{FOUND}.weight").equal(kept["weight"].to(torch.bfloat16))


def test_quantised_weights_are_another_transformer_only(whole: Path, changed: Changed, memo: DigestMemo) -> None:
    one, other = open_combined(whole).identities(memo), open_combined(changed(fp8)).identities(memo)
    assert {name for name in one if one[name] != other[name]} == {"transformer"}


def test_a_scale_is_part_of_the_identity(changed: Changed, tmp_path: Path, memo: DigestMemo) -> None:
    first = changed(fp8)
    shutil.copyfile(first, tmp_path / "first.safetensors")

    def doubled(tensors: Tensors, metadata: dict[str, str]) -> None:
        fp8(tensors, metadata)
        tensors[f"{MODULE}.weight_scale"] = tensors[f"{MODULE}.weight_scale"] * 2

    one = open_combined(tmp_path / "first.safetensors").identities(memo)
    assert one["transformer"] != open_combined(changed(doubled)).identities(memo)["transformer"]


@pytest.mark.parametrize(
    ("scale", "described"),
    [(torch.ones(32), r"F32 \[32\]"), (torch.ones((), dtype=torch.bfloat16), r"BF16 \[\]")],
    ids=["vector", "bfloat16"],
)
def test_another_kind_of_scale_is_refused(changed: Changed, scale: torch.Tensor, described: str) -> None:
    def change(tensors: Tensors, metadata: dict[str, str]) -> None:
        fp8(tensors, metadata)
        tensors[f"{MODULE}.weight_scale"] = scale

    path = changed(change)
    with pytest.raises(CheckpointError, match=rf"scale {MODULE}\.weight_scale as {described}; one number in F32"):
        open_combined(path)


def test_a_scale_without_quantised_values_is_unknown(changed: Changed) -> None:
    path = changed(lambda tensors, metadata: tensors.update({f"{MODULE}.weight_scale": torch.ones(())}))
    with pytest.raises(CheckpointError, match=rf"has unknown {FOUND}\.weight_scale"):
        load_transformer(open_combined(path), **FULL)


def nvfp4(tensors: Tensors, metadata: dict[str, str]) -> None:
    rows, columns = tensors[WEIGHT].shape
    tensors[WEIGHT] = torch.full((rows, columns // 2), 0x2F, dtype=torch.uint8)
    tensors[f"{MODULE}.weight_scale"] = torch.ones(128, 4).to(torch.float8_e4m3fn)
    tensors[f"{MODULE}.weight_scale_2"] = torch.tensor(0.5)


def test_the_even_element_is_in_the_high_nibble(changed: Changed) -> None:
    """0x2F: code 2 is 1.0, code 15 is -6.0; both times 0.5."""
    weight = load_transformer(open_combined(changed(nvfp4)), **FULL).get_parameter(f"{FOUND}.weight")
    assert weight[:, 0::2].eq(0.5).all()
    assert weight[:, 1::2].eq(-3.0).all()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (f"{MODULE}.weight_scale", torch.ones(32, 2).to(torch.float8_e4m3fn), r"F8_E4M3 \[32, 2\].*\[128, 4\]"),
        (f"{MODULE}.weight_scale_2", torch.ones(2), r"F32 \[2\]; F8_E4M3"),
        (WEIGHT, torch.zeros(32, 5, dtype=torch.uint8), r"packed weight .* as \[32, 5\]; \[out, in / 2\]"),
    ],
    ids=["block", "tensor", "odd"],
)
def test_scales_of_another_size_are_refused(changed: Changed, name: str, value: torch.Tensor, message: str) -> None:
    def change(tensors: Tensors, metadata: dict[str, str]) -> None:
        nvfp4(tensors, metadata)
        tensors[name] = value

    path = changed(change)
    with pytest.raises(CheckpointError, match=message):
        open_combined(path)


def test_every_block_scale_is_found_where_cublas_has_it() -> None:
    rows, columns = 200, 6
    stored = torch.arange(256 * 8, dtype=torch.float32)
    plain = unswizzled(stored, rows, columns)
    for row, column in ((0, 0), (31, 3), (32, 0), (127, 3), (128, 0), (5, 4), (199, 5)):
        tile = (row // 128) * 2 + column // 4
        offset = tile * 512 + (row % 32) * 16 + (row % 128) // 32 * 4 + column % 4
        assert plain[row, column] == offset


def test_large_tensors_are_read_in_pieces(tmp_path: Path, changed: Changed) -> None:
    from ltx_core.checkpoint.stored import PlainWeight, StoredTensor
    from ltx_core.io.safetensors import read_header

    values = torch.arange(PIECE_BYTES // 4 + 1000, dtype=torch.int32).view(torch.float32)
    path = tmp_path / "large.safetensors"
    save_file({"a": values}, path)
    stored = StoredTensor(path, "a", read_header(path).tensors["a"])
    found = read_weights({"a": PlainWeight(stored)}, **FULL)["a"]
    assert found.view(torch.int32).equal(values.view(torch.int32))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="ends inside a; copy or download"):
        read_weights({"a": PlainWeight(stored)}, **FULL)
