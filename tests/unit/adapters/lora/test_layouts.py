"""LoRA files that other programs wrote: every layout does to the model what the adapter did."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ltx_core.adapters.lora import add_lora, lora_layers, target_modules
from ltx_core.adapters.lora_files import export_tensors, load_lora, read_lora
from ltx_core.adapters.lora_layout import original_name
from ltx_core.errors import CheckpointError
from tests.fused_lora import fuse_lora

pytestmark = pytest.mark.whole

Tensors = dict[str, torch.Tensor]
Forward = Callable[[Any], torch.Tensor]
RANK, ALPHA = 4, 8.0
TARGETS = ["attn1.to_q", "audio_to_video_attn.to_v", "proj_in", "time_embed.linear", "audio_prompt_adaln.linear"]
HEADER = {"transformer.r": RANK, "transformer.lora_alpha": ALPHA, "transformer.use_dora": False}


@pytest.fixture
def trained(build: Callable[..., Any], pretend_training: Callable[[Any], None]) -> Any:
    """A transformer with a LoRA of alpha 8 and rank 4, layers outside the blocks among its targets."""
    transformer = build()
    add_lora(transformer, target_modules(transformer, TARGETS), rank=RANK, alpha=ALPHA, seed=0)
    pretend_training(transformer)
    return transformer


def raw(transformer: Any, prefix: str, down: str, up: str, *, original: bool) -> Tensors:
    """The adapter as another trainer writes it: float32, alpha not folded."""
    tensors = {}
    for module, layer in lora_layers(transformer).items():
        name = prefix + (original_name(module) if original else module)
        tensors[f"{name}.{down}.weight"] = layer.lora_A["default"].weight.detach().clone()
        tensors[f"{name}.{up}.weight"] = layer.lora_B["default"].weight.detach().clone()
    return tensors


def alphas(tensors: Tensors, ending: str) -> Tensors:
    return {name.removesuffix(ending) + ".alpha": torch.tensor(ALPHA) for name in tensors if name.endswith(ending)}


def kohya(transformer: Any) -> tuple[Tensors, dict[str, str]]:
    tensors = raw(transformer, "diffusion_model.", "lora_down", "lora_up", original=True)
    return {**tensors, **alphas(tensors, ".lora_down.weight")}, {}


def comfy(transformer: Any) -> tuple[Tensors, dict[str, str]]:
    tensors = raw(transformer, "diffusion_model.", "lora_A", "lora_B", original=True)
    return {**tensors, **alphas(tensors, ".lora_A.weight")}, {"lora_adapter_metadata": json.dumps(HEADER)}


def diffusers_with_header(transformer: Any) -> tuple[Tensors, dict[str, str]]:
    tensors = raw(transformer, "transformer.", "lora_A", "lora_B", original=False)
    return tensors, {"lora_adapter_metadata": json.dumps(HEADER)}


def bare_with_header(transformer: Any) -> tuple[Tensors, dict[str, str]]:
    own = {name.removeprefix("transformer."): value for name, value in HEADER.items()}
    return raw(transformer, "", "lora_A", "lora_B", original=False), {"lora_adapter_metadata": json.dumps(own)}


def peft_state(transformer: Any) -> tuple[Tensors, dict[str, str]]:
    tensors = raw(transformer, "base_model.model.", "lora_A.default", "lora_B.default", original=False)
    return {**tensors, **alphas(tensors, ".lora_A.default.weight")}, {}


def scaled_by_module(transformer: Any) -> tuple[Tensors, dict[str, str]]:
    """Another alpha in the header for all but what `alpha_pattern` names."""
    pattern = dict.fromkeys(TARGETS, ALPHA)
    tensors = raw(transformer, "transformer.", "lora_A", "lora_B", original=False)
    header = {**HEADER, "transformer.lora_alpha": 1, "transformer.alpha_pattern": pattern}
    return tensors, {"lora_adapter_metadata": json.dumps(header)}


@pytest.mark.parametrize(
    "layout", [kohya, comfy, diffusers_with_header, bare_with_header, peft_state, scaled_by_module]
)
def test_every_layout_does_what_the_adapter_did(
    layout: Callable[[Any], tuple[Tensors, dict[str, str]]],
    trained: Any,
    build: Callable[..., Any],
    run_forward: Forward,
    tmp_path: Path,
) -> None:
    tensors, header = layout(trained)
    save_file(tensors, tmp_path / "lora.safetensors", metadata=header)
    fresh = build()
    load_lora(tmp_path / "lora.safetensors", fresh)
    assert sorted(lora_layers(fresh)) == sorted(lora_layers(trained))
    torch.testing.assert_close(run_forward(fresh), run_forward(trained), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_float_is_read(dtype: torch.dtype, trained: Any, build: Callable[..., Any], tmp_path: Path) -> None:
    tensors = {name: tensor.to(dtype) for name, tensor in export_tensors(trained).items()}
    save_file(tensors, tmp_path / "lora.safetensors")
    fresh = build()
    load_lora(tmp_path / "lora.safetensors", fresh)
    found = lora_layers(fresh)["time_embed.linear"].lora_B["default"].weight
    assert found.dtype == torch.float32
    assert torch.equal(found, tensors["diffusion_model.adaln_single.linear.lora_B.weight"].float())


def test_ranks_may_differ_by_module(
    trained: Any, build: Callable[..., Any], run_forward: Forward, tmp_path: Path
) -> None:
    """Zeros added to a pair change its rank and nothing else; without alpha, the rank has no say in the scale."""
    tensors = {name: tensor.float() for name, tensor in export_tensors(trained).items()}
    name = "diffusion_model.transformer_blocks.0.attn1.to_q"
    wider = dict(tensors)
    wider[f"{name}.lora_A.weight"] = torch.cat([tensors[f"{name}.lora_A.weight"], torch.ones(3, 32)])
    wider[f"{name}.lora_B.weight"] = torch.cat([tensors[f"{name}.lora_B.weight"], torch.zeros(32, 3)], dim=1)
    save_file(tensors, tmp_path / "even.safetensors")
    save_file(wider, tmp_path / "uneven.safetensors")
    models = [build(), build()]
    for model, stem in zip(models, ("even", "uneven"), strict=True):
        load_lora(tmp_path / f"{stem}.safetensors", model, strength=0.5)
    assert {len(layer.lora_A["default"].weight) for layer in lora_layers(models[1]).values()} == {4, 7}
    assert {layer.scaling["default"] for layer in lora_layers(models[1]).values()} == {0.5}
    torch.testing.assert_close(run_forward(models[1]), run_forward(models[0]), rtol=0, atol=1e-6)


def test_names_of_the_file_are_lightricks(trained: Any) -> None:
    stems = {name.removeprefix("diffusion_model.").rsplit(".lora_", 1)[0] for name in export_tensors(trained)}
    assert {"patchify_proj", "adaln_single.linear", "audio_prompt_adaln_single.linear"} < stems
    assert not any("proj_in" in stem or "time_embed" in stem for stem in stems)


def test_fused_weights_do_what_the_adapter_does(
    trained: Any, build: Callable[..., Any], run_forward: Forward, tmp_path: Path
) -> None:
    save_file(kohya(trained)[0], tmp_path / "lora.safetensors")
    lora = read_lora(tmp_path / "lora.safetensors")
    adapted, fused = build(), build()
    load_lora(tmp_path / "lora.safetensors", adapted, strength=0.7)
    weights = fused.state_dict()
    changed = fuse_lora(weights, lora, 0.7)
    assert {n for n in weights if changed[n] is not weights[n]} == {f"{module}.weight" for module in lora.pairs}
    fused.load_state_dict(changed)
    torch.testing.assert_close(run_forward(fused), run_forward(adapted), rtol=0, atol=1e-5)


def test_fusing_refuses_what_it_cannot_do(trained: Any, build: Callable[..., Any], tmp_path: Path) -> None:
    save_file(export_tensors(trained), tmp_path / "lora.safetensors")
    lora, weights = read_lora(tmp_path / "lora.safetensors"), build().state_dict()
    without = {name: weight for name, weight in weights.items() if name != "proj_in.weight"}
    with pytest.raises(CheckpointError, match=r"missing.*proj_in"):
        fuse_lora(without, lora)
    with pytest.raises(CheckpointError, match="float8"):
        fuse_lora({**weights, "proj_in.weight": weights["proj_in.weight"].to(torch.float8_e4m3fn)}, lora)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{", "no JSON"),
        ("[]", "no JSON object"),
        ("{}", "no lora_alpha"),
        (json.dumps({**HEADER, "transformer.use_dora": True}), "use_dora"),
        (json.dumps({**HEADER, "transformer.alpha_pattern": {"to_x": 1}}), "to_x"),
        (json.dumps({**HEADER, "transformer.lora_alpha": 99}), "remove one"),
    ],
)
def test_headers_that_contradict_are_refused(header: str, message: str, trained: Any, tmp_path: Path) -> None:
    save_file(comfy(trained)[0], tmp_path / "lora.safetensors", metadata={"lora_adapter_metadata": header})
    with pytest.raises(CheckpointError, match=message):
        read_lora(tmp_path / "lora.safetensors")


def test_rank_stabilised_header(trained: Any, tmp_path: Path) -> None:
    tensors, _ = diffusers_with_header(trained)
    header = json.dumps({**HEADER, "transformer.use_rslora": True})
    save_file(tensors, tmp_path / "lora.safetensors", metadata={"lora_adapter_metadata": header})
    assert {pair.scale for pair in read_lora(tmp_path / "lora.safetensors").pairs.values()} == {ALPHA / RANK**0.5}
