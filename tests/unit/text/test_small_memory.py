"""A text encoder that is larger than its device: in 8 bits, or from the host layer by layer, or both."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.checkpoint.text_encoder import open_text_encoder
from ltx_core.memory.encoders import text_encoder_memory
from ltx_core.text.assemble import Int8Linear, LayerOffload, int8_rows, offload_layers
from ltx_core.text.gemma import TextEncoder, load_gemma
from ltx_core.text.packing import pack_captions

GOLDEN = Path(__file__).parents[2] / "golden"
FULL: dict[str, Any] = {"device": "cpu", "dtype": torch.float32}
TEXTS = ("a robot dancing", "a dog", "two robots dancing in the rain at night, and then some more")


@pytest.fixture(params=["2.3/text_encoder", "2.5/text_encoder.safetensors"])
def path(request: pytest.FixtureRequest) -> Path:
    return GOLDEN / request.param


def states(encoder: TextEncoder, *, times: int = 1) -> list[torch.Tensor]:
    captions = [encoder.token_ids(text) for text in TEXTS]
    (pack,) = pack_captions([len(ids) for ids in captions], 1024)
    for _ in range(times):
        found = list(encoder.packed_states(captions, pack))
    return found


@pytest.mark.whole
@pytest.mark.parametrize("int8", [False, True])
def test_streamed_layers_give_the_same_bits(path: Path, int8: bool) -> None:
    right = states(load_gemma(open_text_encoder(path), **FULL, int8=int8))
    encoder = load_gemma(open_text_encoder(path), **FULL, int8=int8, offloaded=True)
    for found, value in zip(states(encoder, times=3), right, strict=True):
        assert found.equal(value)


def test_int8_is_near(path: Path) -> None:
    right = states(load_gemma(open_text_encoder(path), **FULL))
    encoder = load_gemma(open_text_encoder(path), **FULL, int8=True)
    for found, value in zip(states(encoder), right, strict=True):
        assert 1e-5 < (found - value).norm() / value.norm() < 4e-2
    layer = encoder.model.layers[0]
    assert all(isinstance(linear, Int8Linear) for linear in (layer.mlp.up_proj, layer.self_attn.q_proj))
    assert layer.mlp.up_proj.weight.dtype == torch.int8
    assert not any(isinstance(module, torch.nn.Linear) for module in layer.modules())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_is_its_values_times_its_scale(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weight = (torch.randn(64, 96) * torch.logspace(-6, 3, 64)[:, None]).to(dtype)
    weight[3] = 0
    values, scale = int8_rows(weight)
    assert values.dtype == torch.int8
    assert scale.dtype == dtype
    back = values.double() * scale.double()[:, None]
    assert ((back - weight.double()).abs() <= 0.51 * scale.double()[:, None] + 0.3 * (scale[:, None] * 127 / 256)).all()
    assert back[3].eq(0).all()


def test_only_two_layers_are_on_the_device() -> None:
    layers = [torch.nn.Linear(8, 8).requires_grad_(False) for _ in range(5)]
    right = [layer.weight.clone() for layer in layers]
    stream = offload_layers(layers, torch.device("cpu"))
    assert all(layer.weight.untyped_storage().nbytes() <= 4 for layer in layers)
    for index in (0, 1, 2, 3, 4, 0, 1):
        stream.blocks.enter(index)
        assert layers[index].weight.equal(right[index])
        assert set(stream.blocks.state.holds) == {index, (index + 1) % 5}
    assert stream.blocks.slot_bytes * 5 == 2 * stream.blocks.host_bytes


def test_layers_of_unequal_size_share_the_slots() -> None:
    layers = [torch.nn.Linear(8, width).requires_grad_(False) for width in (3, 50, 7)]
    right = [[tensor.clone() for tensor in layer.parameters()] for layer in layers]
    stream = LayerOffload(torch.device("cpu"))
    for layer in layers:
        stream.adopt(layer)
    for _ in range(2):
        for index, layer in enumerate(layers):
            layer(torch.zeros(1, 8))  # its hook brings the weights
            assert all(t.equal(value) for t, value in zip(layer.parameters(), right[index], strict=True))


def test_it_streams_when_it_does_not_fit(path: Path) -> None:
    encoder = open_text_encoder(path)
    whole, small = (text_encoder_memory(encoder, item_bytes=2, int8=int8, pack_tokens=4096) for int8 in (False, True))
    assert small.needed_bytes < whole.needed_bytes
    for memory in (whole, small):
        assert memory.fits(memory.needed_bytes)
        assert not memory.fits(memory.needed_bytes - 1)
    assert not text_encoder_memory(encoder, item_bytes=2, int8=False, pack_tokens=8192).fits(whole.needed_bytes)
