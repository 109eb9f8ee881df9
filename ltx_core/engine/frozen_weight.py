"""What a frozen layer's weight stands for, whatever it is stored as and wherever it waits."""

from typing import Any

import torch

from ltx_core.engine.assemble import weight_stream
from ltx_core.engine.low_precision import QuantisedLinear, dequantise
from ltx_core.lora.names import BLOCKS


def frozen_weight(layer: torch.nn.Module) -> torch.Tensor:
    """[out, in] in float32 of the layer under any adapters. Of a streamed block: while it computes."""
    while isinstance(inner := getattr(layer, "base_layer", None), torch.nn.Module):
        layer = inner
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)  # adapters lie on linear layers alone
    return dequantise(weight, layer.scale, torch.float32) if isinstance(layer, QuantisedLinear) else weight.float()


def bring_weights(transformer: Any, module: str) -> None:
    """Copy the weights of the block that `module` lies in to the device, if they are streamed."""
    stream = weight_stream(transformer)
    if stream is None or not module.startswith(BLOCKS):
        return
    index = int(module.split(".")[1])
    if index in stream:
        stream.enter(index)
