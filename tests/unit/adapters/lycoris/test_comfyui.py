"""ComfyUI renders what was trained: its formula, written from what it is seen to do, on the tensors of our files.

Its weight is W + change, and with `dora_scale` s (W + change) / |W| by rows, whatever the change: the weight that is
patched is what it divides by. `strength` moves the weight from W towards that.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.adapters.lora_layout import PREFIX, original_name
from ltx_core.adapters.lycoris import adapted_layers
from ltx_core.adapters.lycoris_files import TrainedLycoris, load_lycoris
from ltx_core.adapters.lycoris_layout import NORM_OF_FROZEN
from ltx_core.io.tensors import read_tensors, write_tensors
from ltx_core.training.config import TrainSettings
from ltx_core.training.state import lora_metadata
from tests.unit.adapters.lycoris.conftest import KINDS, every_kind

pytestmark = pytest.mark.whole

Build = Callable[..., Any]
Forward = Callable[[Any], torch.Tensor]
Trained = Callable[..., TrainedLycoris]
EPSILON = torch.finfo(torch.float32).eps
only_dora = pytest.mark.parametrize("options", [kind for kind in KINDS.values() if kind.get("dora_wd")], ids=str)


def pair(own: dict[str, torch.Tensor], name: str) -> tuple[torch.Tensor, int | None]:
    """A factor of LoKr, and the rank that it is cut to."""
    if name in own:
        return own[name], None
    return own[f"{name}_a"] @ own[f"{name}_b"], own[f"{name}_b"].shape[0]


def change_of(own: dict[str, torch.Tensor], weight: torch.Tensor) -> torch.Tensor:
    if "lora_up.weight" in own:
        return own["lora_up.weight"] @ own["lora_down.weight"] * own["alpha"] / own["lora_down.weight"].shape[0]
    if "hada_w1_a" in own:
        product = (own["hada_w1_a"] @ own["hada_w1_b"]) * (own["hada_w2_a"] @ own["hada_w2_b"])
        return product * own["alpha"] / own["hada_w1_b"].shape[0]
    (first, of_first), (second, of_second) = pair(own, "lokr_w1"), pair(own, "lokr_w2")
    rank = of_second or of_first
    return torch.kron(first, second).reshape(weight.shape) * (own["alpha"] / rank if rank else 1)


def patched(weight: torch.Tensor, own: dict[str, torch.Tensor], strength: float) -> torch.Tensor:
    changed = weight + change_of(own, weight)
    if "dora_scale" in own:
        changed = changed * own["dora_scale"] / (weight.norm(dim=1, keepdim=True) + EPSILON)
    return weight + strength * (changed - weight)


def patch(transformer: Any, path: Path, names: list[str], strength: float = 1.0) -> Any:
    """The transformer with the weights that ComfyUI would compute with."""
    tensors = {name: tensor.float() for name, tensor in read_tensors(path)[0].items()}
    for name in names:
        stem = f"{PREFIX}{original_name(name)}."
        own = {key.removeprefix(stem): tensor for key, tensor in tensors.items() if key.startswith(stem)}
        layer = transformer.get_submodule(name)
        layer.weight.data = patched(layer.weight.data, own, strength)
    return transformer


def saved(path: Path, adapter: TrainedLycoris) -> Path:
    write_tensors(path, adapter.exported(), NORM_OF_FROZEN)
    return path


@every_kind
def test_its_formula_on_our_file_is_what_was_trained(
    build: Build, run_forward: Forward, trained: Trained, tmp_path: Path, options: dict[str, Any]
) -> None:
    adapter = trained(options)
    wanted, names = run_forward(adapter.transformer), list(adapted_layers(adapter.transformer, "default"))
    path = saved(tmp_path / "a.safetensors", adapter)
    assert (wanted - run_forward(build())).abs().max() > 0.05
    torch.testing.assert_close(run_forward(patch(build(), path, names)), wanted, rtol=0, atol=2e-5)
    layer = names[0]
    half = patch(build(), path, [layer], 0.5).get_submodule(layer)
    fresh = build()
    load_lycoris(path, fresh, adapter="a", strength=0.5)
    x = torch.randn(3, half.in_features, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fresh.get_submodule(layer)(x), half(x), rtol=0, atol=2e-5)


@only_dora
def test_a_file_in_the_papers_convention_is_read_as_that(
    build: Build, run_forward: Forward, trained: Trained, tmp_path: Path, options: dict[str, Any]
) -> None:
    """Of another program, or of this one before: the header does not say otherwise. It goes out as ComfyUI's again."""
    adapter = trained(options)
    wanted = run_forward(adapter.transformer)
    lengths = {
        f"{PREFIX}{original_name(name)}.dora_scale": layer.modules_by_name["default"].dora_scale.detach()
        for name, layer in adapted_layers(adapter.transformer, "default").items()
    }
    ours = adapter.exported()
    assert not any(torch.allclose(ours[name], value, rtol=1e-4) for name, value in lengths.items())
    write_tensors(path := tmp_path / "a.safetensors", {**ours, **lengths}, {"format": "pt"})
    fresh = build()
    load_lycoris(path, fresh, adapter="a")
    torch.testing.assert_close(run_forward(fresh), wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize("dora", [False, True])
def test_the_header_says_which_convention_it_is(dora: bool) -> None:
    settings = TrainSettings.model_validate({"lycoris": {"algo": "loha", "dora_wd": dora}, "steps": 1})
    header = lora_metadata(settings, 1, "digest", {})
    assert json.loads(header["ltx2.lycoris"])["dora_wd"] is dora
    assert (header.items() >= NORM_OF_FROZEN.items()) is dora
