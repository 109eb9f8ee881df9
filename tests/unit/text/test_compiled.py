"""What of the text encoder is compiled, and when. The compiler itself takes too long for a test on a CPU."""

from pathlib import Path

import pytest
import torch

from ltx_core.checkpoint.text_encoder import open_text_encoder
from ltx_core.text.assemble import compile_layers, worth_compiling
from ltx_core.text.gemma import load_gemma

GOLDEN = Path(__file__).parents[2] / "golden"
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("name", ["2.3/text_encoder", "2.5/text_encoder.safetensors"])
def test_the_feed_forward_and_the_norms_of_every_layer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **_options: compiled.append(module))
    model = load_gemma(open_text_encoder(GOLDEN / name), device="cpu", dtype=torch.float32).model
    assert compile_layers(model) == len(compiled)
    for layer in model.layers:
        assert layer.mlp in compiled
        assert layer.input_layernorm in compiled
        assert layer.self_attn not in compiled


def test_auto_waits_for_enough_tokens_on_a_gpu() -> None:
    assert worth_compiling(10**8, "auto", CUDA)
    assert not worth_compiling(10**4, "auto", CUDA)
    assert not worth_compiling(10**8, "auto", CPU)
    assert worth_compiling(1, True, CPU)
    assert not worth_compiling(10**8, False, CUDA)
