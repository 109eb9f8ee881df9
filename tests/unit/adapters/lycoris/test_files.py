"""What is written is what was trained, and what other programs read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lycoris import create_lycoris_from_weights

from ltx_core.adapters.lora import add_lora, lora_parameters
from ltx_core.adapters.lora_layout import Adapter, original_name
from ltx_core.adapters.lycoris import adapted_layers, remove_lycoris
from ltx_core.adapters.lycoris_files import TrainedLycoris, library_tensors, load_lycoris
from ltx_core.adapters.lycoris_layout import NORM_OF_FROZEN, check_adapter
from ltx_core.adapters.trained import check_export, stacked
from ltx_core.errors import CheckpointError
from ltx_core.io.digest import file_digest
from ltx_core.io.tensors import read_tensors, write_tensors
from tests.fused_lora import save_lora
from tests.unit.adapters.lycoris.conftest import every_kind, pretend_training, put_on

pytestmark = pytest.mark.whole

Build = Callable[..., Any]
Forward = Callable[[Any], torch.Tensor]
Trained = Callable[..., TrainedLycoris]
QUERY = "diffusion_model.transformer_blocks.0.attn1.to_q."


def saved(path: Path, adapter: TrainedLycoris) -> Path:
    write_tensors(path, adapter.exported(), NORM_OF_FROZEN)
    return path


def as_adapter(path: Path, strength: float = 1.0) -> Adapter:
    return Adapter(path, file_digest(path), strength)


@every_kind
def test_file_reloads_to_the_trained_output(
    build: Build, run_forward: Forward, trained: Trained, tmp_path: Path, options: dict[str, Any]
) -> None:
    """With a multiplier too, which is folded in, where there may be one."""
    adapter = trained(options if options.get("dora_wd") else options | {"multiplier": 0.5})
    wanted, fresh = run_forward(adapter.transformer), build()
    base = run_forward(fresh)
    assert (wanted - base).abs().max() > 0.05
    path = saved(tmp_path / "a.safetensors", adapter)
    check_adapter(path, {n.removesuffix(".weight"): tuple(t.shape) for n, t in build().state_dict().items()})
    load_lycoris(path, fresh, adapter="a")
    torch.testing.assert_close(run_forward(fresh), wanted, rtol=0, atol=2e-5)
    remove_lycoris(fresh, "a")
    assert torch.equal(run_forward(fresh), base)
    assert not adapted_layers(fresh, "a")
    with adapter.switched_off():
        assert torch.equal(run_forward(adapter.transformer), base)
    assert torch.equal(run_forward(adapter.transformer), wanted)


@every_kind
def test_the_library_itself_does_the_same_with_it(
    build: Build, run_forward: Forward, trained: Trained, tmp_path: Path, options: dict[str, Any]
) -> None:
    """Merged too, where the library scales LoHa and LoKr twice by alpha / rank: here that is 1."""
    adapter = trained(options)
    wanted = run_forward(adapter.transformer)
    found = library_tensors(saved(tmp_path / "a.safetensors", adapter), build())
    tensors = {name: tensor.float() for name, tensor in found.items()}
    for how in ("apply_to", "merge_to"):
        other = build()
        network, _ = create_lycoris_from_weights(1.0, None, other, weights_sd=dict(tensors))
        assert len(network.loras) == len(adapted_layers(adapter.transformer, "default"))
        with torch.no_grad():
            getattr(network, how)()
        torch.testing.assert_close(run_forward(other), wanted, rtol=0, atol=2e-5)


def test_names_are_those_that_comfyui_has_for_this_model(trained: Trained) -> None:
    """Of its generic layout: `diffusion_model.`, Lightricks' module, the library's tensor; alpha is the rank."""
    tensors = trained({"algo": "lokr", "linear_dim": 1, "factor": 4, "dora_wd": True}).exported()
    own = {name.removeprefix(QUERY): tensor for name, tensor in tensors.items() if name.startswith(QUERY)}
    assert {name: tensor.dtype for name, tensor in own.items()} == {
        "lokr_w1": torch.bfloat16,
        "lokr_w2_a": torch.bfloat16,
        "lokr_w2_b": torch.bfloat16,
        "dora_scale": torch.float32,
        "alpha": torch.float32,
    }
    assert own["alpha"] == 1


@pytest.mark.parametrize("prefix", ["lycoris_", "lora_unet_", "lora_transformer_", "transformer."])
def test_names_of_other_programs_are_read(build: Build, run_forward: Forward, tmp_path: Path, prefix: str) -> None:
    adapter = put_on(build(), {"algo": "loha"}, ("proj_in", "attn1.to_q"))
    pretend_training(adapter)
    names = {}
    for module, layer in adapted_layers(adapter.transformer, "default").items():
        stem = original_name(module) if prefix == "lora_unet_" else module
        stem = stem if prefix.endswith(".") else stem.replace(".", "_")
        for own, tensor in layer.modules_by_name["default"].state_dict().items():
            names[f"{prefix}{stem}.{own}"] = tensor.detach()
    write_tensors(path := tmp_path / "a.safetensors", names, {})
    fresh = build()
    with stacked(fresh, [as_adapter(path)]):
        torch.testing.assert_close(run_forward(fresh), run_forward(adapter.transformer), rtol=0, atol=2e-5)


def test_stands_beside_plain_loras_at_any_strength(
    build: Build, run_forward: Forward, trained: Trained, tmp_path: Path
) -> None:
    """The sum of the changes of the base, whichever is named first; one after the other leaves nothing behind."""
    kinds: list[dict[str, Any]] = [{"algo": "lora", "dora_wd": True}, {"algo": "lokr", "factor": 4}]
    files = [saved(tmp_path / f"{n}.safetensors", trained(kind)) for n, kind in enumerate(kinds)]
    lora = build()
    add_lora(lora, ["transformer_blocks.0.attn1.to_q"], rank=2, alpha=2, seed=0)
    for parameter in lora_parameters(lora).values():
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    save_lora(plain := tmp_path / "plain.safetensors", lora, {})
    fresh = build()
    base = run_forward(fresh)
    with stacked(fresh, [as_adapter(plain)]):
        alone = run_forward(fresh)
    with stacked(fresh, [as_adapter(plain), as_adapter(files[0], 0.5), as_adapter(files[1], -1.0)]):
        one = run_forward(fresh)
    with stacked(fresh, [as_adapter(files[1], -1.0), as_adapter(files[0], 0.5), as_adapter(plain)]):
        other = run_forward(fresh)
    with stacked(fresh, [as_adapter(plain)]):
        assert torch.equal(run_forward(fresh), alone)
    assert torch.equal(run_forward(fresh), base)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    assert (one - alone).abs().max() > 1e-2


def test_last_check_passes_what_was_written_and_refuses_another(
    run_forward: Forward, trained: Trained, tmp_path: Path
) -> None:
    adapter = trained({"algo": "loha"})
    path = saved(tmp_path / "a.safetensors", adapter)
    before = run_forward(adapter.transformer)

    def probe() -> torch.Tensor:
        return run_forward(adapter.transformer)

    check_export(path, adapter.transformer, probe, adapter)
    assert torch.equal(probe(), before)
    assert list(adapter.parameters()) == list(trained({"algo": "loha"}).parameters())
    tensors, metadata = read_tensors(path)
    tensors[QUERY + "hada_w2_a"] += 1
    write_tensors(path, tensors, metadata)
    with pytest.raises(CheckpointError, match="differs from the trained adapter"):
        check_export(path, adapter.transformer, probe, adapter)


def test_broken_or_idle_ones_are_refused(build: Build, trained: Trained) -> None:
    with pytest.raises(CheckpointError, match="would change nothing"):
        (idle := put_on(build(), {"algo": "lokr", "factor": 4})).check(idle.exported())
    adapter = trained({"algo": "loha"})
    adapter.check(tensors := adapter.exported())
    tensors[QUERY + "hada_w1_a"][0, 0] = torch.nan
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        adapter.check(tensors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {**t, QUERY + "oft_blocks": torch.ones(1)}, "no tensor of LoCon, LoHa or LoKr"),
        (lambda t: {n.replace("attn1", "attn7"): v for n, v in t.items()}, "missing in this transformer"),
        (lambda t: {n: v for n, v in t.items() if n != QUERY + "hada_w2_a"}, "no LoCon, LoHa or LoKr of a"),
        (lambda t: {n: v[:8] if n == QUERY + "hada_w1_a" else v for n, v in t.items()}, "no LoCon, LoHa or LoKr of a"),
        (lambda t: {n: v.fill_(torch.inf) if "w1_b" in n else v for n, v in t.items()}, "no finite float numbers"),
    ],
)
def test_files_that_are_not_understood(
    build: Build, trained: Trained, tmp_path: Path, change: Callable[..., dict[str, torch.Tensor]], message: str
) -> None:
    write_tensors(path := tmp_path / "a.safetensors", change(trained({"algo": "loha"}).exported()), {})
    fresh = build()
    with pytest.raises(CheckpointError, match=message):
        load_lycoris(path, fresh, adapter="a")
    assert not adapted_layers(fresh, "a")
