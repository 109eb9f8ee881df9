"""The change beside a frozen layer is that of the merged weight, however the weight is stored and wherever it waits."""

from typing import Any

import pytest
import torch
from lycoris.modules.base import LycorisBaseModule

from ltx_core.adapters.lycoris import LycorisLayer, adapted_layers, add_lycoris, new_module, product, weight_change
from ltx_core.adapters.lycoris_layout import LayerOptions
from ltx_core.denoiser.forward import denoise
from ltx_core.engine.assemble import block_offload, bring_weights, frozen_weight, set_policies
from ltx_core.engine.low_precision import LowPrecision, QuantisedLinear
from ltx_core.engine.options import EngineOptions
from ltx_core.engine.projection import with_added
from tests.unit.adapters.lycoris.conftest import KINDS, pretend_training, put_on
from tests.unit.engine.conftest import build as engine_build
from tests.unit.engine.conftest import streams

pytestmark = pytest.mark.whole

SHAPE = (48, 32)
LAYERS = [
    LayerOptions("lora", 4, 2),
    LayerOptions("loha", 4, 2),
    LayerOptions("lokr", 1, 0.5, 4),
    LayerOptions("lokr", 1, 0.5, -1, decompose_both=True),
    LayerOptions("lokr", 1, 1, 4, full_matrix=True),
]
every_algorithm = pytest.mark.parametrize("options", LAYERS, ids=str)


def some_module(options: LayerOptions, lengths: torch.Tensor | None = None) -> Any:
    """One whose change is not zero."""
    module = new_module("a.layer", SHAPE, options, seed=3, lengths=lengths)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = parameter.data * (1 + 0.1 * noise) if name == "dora_scale" else 0.3 * noise
    return module


def some_input() -> torch.Tensor:
    return torch.randn(5, 7, SHAPE[1], generator=torch.Generator().manual_seed(2))


def frozen_layer() -> torch.nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.nn.Linear(SHAPE[1], SHAPE[0]).requires_grad_(False)


@every_algorithm
def test_bypass_is_the_product_with_the_change_of_the_weight(options: LayerOptions) -> None:
    module, x = some_module(options), some_input()
    change = weight_change(module)
    assert change.abs().max() > 1e-2
    torch.testing.assert_close(product(module, x), x @ change.t(), rtol=0, atol=2e-5)


@every_algorithm
@pytest.mark.parametrize("dora", [False, True])
def test_layer_is_the_one_with_the_merged_weight(options: LayerOptions, dora: bool) -> None:
    frozen, x = frozen_layer(), some_input()
    options = LayerOptions(**{**vars(options), "dora": dora})
    module = some_module(options, frozen.weight.norm(dim=1))
    merged = frozen.weight + weight_change(module)
    if dora:  # Liu et al., equation 5, a length for each row
        merged = module.dora_scale * merged / merged.norm(dim=1, keepdim=True)
    layer = LycorisLayer(frozen)
    layer.add("one", module, 1.0)
    wanted = torch.nn.functional.linear(x, merged, frozen.bias)
    torch.testing.assert_close(layer(x), wanted, rtol=0, atol=5e-5)
    assert (wanted - frozen(x)).abs().max() > 0.02
    layer.strengths["one"] = 0.5
    torch.testing.assert_close(layer(x), (wanted + frozen(x)) / 2, rtol=0, atol=5e-5)
    layer.remove("one")
    assert torch.equal(layer(x), frozen(x))


@pytest.mark.parametrize("kind", ["native", "int8", "fp8"])
@pytest.mark.parametrize("under_lora", [False, True])
@torch.no_grad()
def test_a_change_that_has_only_begun_is_not_rounded_away(kind: str, under_lora: bool) -> None:
    """In bfloat16; tests/unit/engine/test_added.py says how it is measured."""
    frozen: Any = torch.nn.Linear(128, 128, bias=False).to(torch.bfloat16).requires_grad_(False)
    torch.nn.init.normal_(frozen.weight, std=128**-0.5, generator=torch.Generator().manual_seed(0))
    if kind != "native":
        frozen = QuantisedLinear(frozen, LowPrecision("int8" if kind == "int8" else "fp8", low_forward=False))
    layer = LycorisLayer(frozen)
    module: Any = new_module("a.layer", (128, 128), LayerOptions("lora", 4, 4), seed=3)
    module.lora_up.weight.data = 1e-4 * torch.randn(128, 4, generator=torch.Generator().manual_seed(1)).sign()
    layer.add("one", module, 1.0)
    x = torch.randn(1024, 128, generator=torch.Generator().manual_seed(2)).to(torch.bfloat16)
    without, added = frozen(x), x.float() @ weight_change(module).t()
    found = layer(x)
    if under_lora:
        found, added = with_added(layer, x, added), 2 * added
    difference = (found.double() - without.double()).flatten()
    assert float(difference @ added.double().flatten() / added.square().sum()) == pytest.approx(1, abs=0.12)


@every_algorithm
def test_start_is_the_librarys_and_a_function_of_seed_and_name(options: LayerOptions) -> None:
    state = torch.get_rng_state()
    made = new_module("a.layer", SHAPE, options, seed=3)
    assert isinstance(made, LycorisBaseModule)
    torch.rand(3)
    again, other = (new_module(name, SHAPE, options, seed=3) for name in ("a.layer", "b.layer"))
    torch.set_rng_state(state)
    new_module("a.layer", SHAPE, options, seed=3)
    assert torch.equal(torch.get_rng_state(), state), "drawing must not move the global generator"
    assert all(torch.equal(p, q) for p, q in zip(made.parameters(), again.parameters(), strict=True))
    assert not all(torch.equal(p, q) for p, q in zip(made.parameters(), other.parameters(), strict=True))
    assert not weight_change(made).any()


@pytest.mark.parametrize("streamed", [0, 5])
def test_lengths_start_from_what_8_bits_stand_for(streamed: int) -> None:
    transformer = engine_build(EngineOptions(precision="int8", offloaded_blocks=streamed), with_lora=False)
    names = [f"transformer_blocks.{block}.attn1.to_q" for block in (0, 4)]
    options = LayerOptions("lora", 4, 4, dora=True)
    add_lycoris(transformer, dict.fromkeys(names, options), adapter="a", seed=0)
    for name in names:
        bring_weights(transformer, name)
        layer: Any = adapted_layers(transformer, "a")[name]
        assert layer.weight.dtype == torch.int8
        stands_for = layer.weight.float() * layer.base_layer.scale
        assert torch.equal(frozen_weight(layer), stands_for)
        torch.testing.assert_close(layer.modules_by_name["a"].dora_scale, stands_for.norm(dim=1, keepdim=True))


def loss_and_gradients(options: EngineOptions, kind: dict[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    transformer = engine_build(options, with_lora=False)
    adapter = put_on(transformer, kind, ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0"))
    pretend_training(adapter)
    set_policies(transformer, options, block_offload(transformer))
    video, audio = denoise(transformer, *streams())
    assert video is not None
    assert audio is not None
    loss = video.square().mean() + audio.square().mean()
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in adapter.parameters().items() if p.grad is not None}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(KINDS["LoKr"], id="LoKr", marks=pytest.mark.extra),
        pytest.param(KINDS["DoRA of LoHa"], id="DoRA of LoHa"),
    ],
)
def test_where_weights_wait_changes_no_bit_and_8_bits_little(options: dict[str, Any]) -> None:
    full, _ = loss_and_gradients(EngineOptions(), options)
    low, gradients = loss_and_gradients(EngineOptions(precision="int8"), options)
    assert 0 < abs(low - full) / full < 0.005
    assert all(gradient.any() for gradient in gradients.values())
    loss, streamed = loss_and_gradients(EngineOptions(precision="int8", offloaded_blocks=5), options)
    assert loss.equal(low)
    assert all(streamed[name].equal(gradients[name]) for name in gradients)


def test_fused_processors_leave_adapted_layers_to_themselves() -> None:
    kind = {"algo": "lokr", "factor": 4}
    plain, fused = (loss_and_gradients(EngineOptions(fused=fused), kind) for fused in (False, True))
    torch.testing.assert_close(fused[0], plain[0])
    torch.testing.assert_close(fused[1], plain[1], atol=1e-6, rtol=1e-4)
