"""A text encoder larger than the device: each layer comes from page-locked host memory just before its turn."""

from collections.abc import Sequence

import torch

from ltx_core.engine.arena import HostArena
from ltx_core.engine.streaming import BlockStream


class LayerStream:
    """Streams the layers that were handed to it, in order and over again; a hook brings each layer's weights."""

    def __init__(self, device: torch.device) -> None:
        self.blocks = BlockStream(device, HostArena(pinned=device.type == "cuda"), travel="round")

    def adopt(self, layer: torch.nn.Module) -> None:
        """Take a frozen layer's weights to the host; from now on they are on the device only while it computes."""
        index = len(self.blocks)
        self.blocks.adopt(index, layer)
        layer.register_forward_pre_hook(lambda _module, _inputs: self.blocks.enter(index))


def stream_layers(layers: Sequence[torch.nn.Module], device: torch.device) -> LayerStream:
    """Hand over all of them."""
    stream = LayerStream(device)
    for layer in layers:
        stream.adopt(layer)
    return stream
