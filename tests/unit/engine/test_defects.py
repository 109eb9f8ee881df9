"""Defects of an existing implementation that touch the engine; numbers as in tests/numerics/expectations."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ltx_core.engine.low_precision import QuantisedLinear
from ltx_core.engine.options import EngineOptions

pytestmark = pytest.mark.whole

Gradients = dict[str, torch.Tensor]
Trained = tuple[torch.Tensor, Gradients]


def test_d05_streaming_stays_on_under_recompute(
    plain: Trained, train_once: Callable[[EngineOptions], Trained], built: Callable[..., Any]
) -> None:
    """There it is switched off with a warning; here blocks stream in both directions and the gradients are the same."""
    options = EngineOptions(offloaded_blocks=5, activation_checkpointing=1.0)
    transformer = built(options)
    streamed = transformer.transformer_blocks[0].attn1.to_q.base_layer.weight
    assert streamed.untyped_storage().nbytes() < streamed.numel()
    _, gradients = train_once(options)
    assert all(gradients[name].equal(plain[1][name]) for name in plain[1])


def test_d14_what_lies_outside_the_blocks_keeps_its_precision(built: Callable[..., Any]) -> None:
    """There an exclude list of other names lets input projections and modulation be quantised."""
    transformer = built(EngineOptions(precision="int8"), with_lora=False)
    quantised = [name for name, module in transformer.named_modules() if isinstance(module, QuantisedLinear)]
    assert len(quantised) >= 24 * len(transformer.transformer_blocks)
    assert all(name.startswith("transformer_blocks.") for name in quantised)
    outside = [p for name, p in transformer.named_parameters() if not name.startswith("transformer_blocks.")]
    assert outside
    assert all(p.is_floating_point() and p.dtype == torch.float32 for p in outside)
