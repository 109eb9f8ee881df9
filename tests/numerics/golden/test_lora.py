"""A LoRA in Lightricks' layout: fused weights, and the transformer's output with it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ltx_core.adapters.lora_files import Lora, load_lora, read_lora
from ltx_core.checkpoint.layouts import open_combined
from ltx_core.checkpoint.load import load_transformer
from ltx_core.denoiser.forward import denoise
from ltx_core.denoiser.tokens import Stream
from tests.fused_lora import fuse_lora

pytestmark = pytest.mark.numerics

DEFAULT = Path(__file__).parents[2] / "golden"
GOLDEN = Path(os.environ.get("LTX2_GOLDEN_DIR", DEFAULT))
ABOUT = json.loads((GOLDEN / "lora_fuse.json").read_text())
KINDS = sorted({name.split(".transformer_blocks")[0] for name in ABOUT["tensors"]} - {"base"})
"""`fused_<dtype>_<strength>` of the file."""
WITH_LORA = sorted(GOLDEN.glob("*/transformer_with_lora.json"))
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "lora_fuse.safetensors")


@pytest.fixture(scope="module")
def lora() -> Lora:
    return read_lora(GOLDEN / ABOUT["lora_file"])


def starting_with(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def restricted(lora: Lora, weights: dict[str, torch.Tensor]) -> Lora:
    """The file fuses one block only."""
    pairs = {module: pair for module, pair in lora.pairs.items() if f"{module}.weight" in weights}
    return Lora(lora.path, pairs, lora.metadata)


def steps_apart(found: torch.Tensor, expected: torch.Tensor) -> int:
    """Most bf16 values between two tensors."""
    order = []
    for tensor in (found, expected):
        bits = tensor.view(torch.int16).to(torch.int32)
        order.append(torch.where(bits < 0, -(bits & 0x7FFF), bits))
    return int((order[0] - order[1]).abs().max())


def check_fused(kind: str, fused: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor]) -> None:
    expected = starting_with(f"{kind}.", tensors)
    assert expected.keys() == fused.keys()
    for name, tensor in fused.items():
        assert tensor.dtype == expected[name].dtype
        if tensor.dtype == torch.bfloat16:
            assert steps_apart(tensor, expected[name]) <= 1, name
        else:
            assert (tensor - expected[name]).abs().max() <= 1e-6, name


def fused_as(kind: str, tensors: dict[str, torch.Tensor], lora: Lora) -> dict[str, torch.Tensor]:
    _, dtype, strength = kind.split("_")
    weights = {name: weight.to(DTYPES[dtype]) for name, weight in starting_with("base.", tensors).items()}
    return fuse_lora(weights, restricted(lora, weights), float(strength))


@pytest.mark.parametrize("kind", KINDS)
def test_fused_weights_equal_lightricks(kind: str, tensors: dict[str, torch.Tensor], lora: Lora) -> None:
    check_fused(kind, fused_as(kind, tensors, lora), tensors)


@pytest.mark.parametrize("kind", KINDS)
def test_one_changed_value_is_seen(kind: str, tensors: dict[str, torch.Tensor], lora: Lora) -> None:
    name = next(name for name in sorted(tensors) if name.startswith(kind))
    changed = {**tensors, name: tensors[name] * 1.02}
    with pytest.raises(AssertionError):
        check_fused(kind, fused_as(kind, tensors, lora), changed)


def velocities(transformer: Any, case: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    streams = []
    for stream in ("video", "audio"):
        parts = starting_with(f"{stream}_", case)
        streams.append(
            Stream(
                tokens=parts["latent"],
                timesteps=parts["timesteps"],
                sigma=parts["sigma"],
                context=parts["context"],
                positions=parts["positions"],
                keyframes=parts.get("keyframes_mask"),
            )
        )
    with torch.no_grad():
        found = denoise(transformer, *streams)
    return {name: v for name, v in zip(("video", "audio"), found, strict=True) if v is not None}


def transformer_of(folder: Path) -> Any:
    checkpoint = open_combined(folder / "checkpoint.safetensors", components=("transformer",))
    return load_transformer(checkpoint, device="cpu", dtype=torch.float32)


@pytest.mark.parametrize("path", WITH_LORA, ids=lambda path: path.parent.name)
@pytest.mark.parametrize("way", ["fused", "adapter"])
def test_output_with_the_lora_equals_lightricks(path: Path, way: str, compare: Any) -> None:
    about, case = json.loads(path.read_text()), load_file(path.with_suffix(".safetensors"))
    transformer, file = transformer_of(path.parent), path.parent / about["lora"]
    without = velocities(transformer, case)
    if way == "fused":
        transformer.load_state_dict(fuse_lora(transformer.state_dict(), read_lora(file)))
    else:
        load_lora(file, transformer)
    for name, velocity in velocities(transformer, case).items():
        compare(velocity, case[f"{name}_velocity"])
        with pytest.raises(AssertionError):  # the LoRA is seen
            compare(without[name], case[f"{name}_velocity"])


def test_there_is_something_to_compare() -> None:
    assert len(KINDS) >= 3
    assert WITH_LORA
