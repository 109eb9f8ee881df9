"""Sizes of the video VAE's layers, from the arguments that it is built with: what the memory plan counts with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ltx_core.checkpoint.expected.video_vae import KERNEL, Network, Part, decoder, encoder
from ltx_core.shapes import TIME_STRIDE, LatentShape, PixelShape

__all__ = ["KERNEL", "Layer", "decoder_layers", "encoder_layers"]


@dataclass(frozen=True)
class Layer:
    """One residual block, one change of resolution, or the first or last convolution, for a whole clip."""

    frames: int
    """That it takes."""
    frame_values: int
    """Values of one frame that it takes: C * H * W."""
    result: int
    """Values that it gives."""
    frames_per_latent: int
    """Frames that it takes for one latent frame."""
    padded: bool
    """Pads space by copying (reflection); zeros need no copy."""
    late: bool
    """Sees the future, so that it gives frames late."""
    convolutions: int = 1
    grows: bool = False
    """Makes more values than it takes, an upsampling."""
    shrinks: bool = False
    """Takes more values than it makes, a downsampling: holds channel means beside."""
    residual: bool = False
    """Adds its input at the end."""
    block_input: int = 0
    """Values that diffusers' block around it still holds, its own input. Not held in chunks."""


def encoder_layers(arguments: Mapping[str, Any], shape: PixelShape) -> list[Layer]:
    """The encoder's layers for a clip, in order of execution; `arguments` are those of diffusers' class."""
    network = encoder(arguments)
    start = LatentShape(shape.frames, shape.height // network.patch, shape.width // network.patch)
    return _layers(network, _Walk(start, TIME_STRIDE, padding=network.padding, late=False))


def decoder_layers(arguments: Mapping[str, Any], shape: LatentShape) -> list[Layer]:
    """The decoder's layers for a clip, in order of execution."""
    network = decoder(arguments)
    return _layers(network, _Walk(shape, 1, padding=network.padding, late=not network.causal))


def _layers(network: Network, walk: "_Walk") -> list[Layer]:
    layers = [walk.through(network.first, 0)]
    for block in network.blocks:
        held = walk.values(block.inputs)
        layers += [walk.through(part, held) for part in block.parts]
    return [*layers, walk.through(network.last, 0)]


class _Walk:
    """Frames, height and width where the walk is."""

    def __init__(self, start: LatentShape, frames_per_latent: int, *, padding: str, late: bool) -> None:
        self.frames, self.height, self.width = start
        self.frames_per_latent, self.padding, self.late = frames_per_latent, padding, late

    def values(self, channels: int) -> int:
        return channels * self.frames * self.height * self.width

    def through(self, part: Part, held: int) -> Layer:
        """What a part takes and gives; the walk goes on behind it. `held`: values that the block around it holds."""
        layer = Layer(
            frames=self.frames,
            frame_values=part.inputs * self.height * self.width,
            result=self.values(part.outputs),
            frames_per_latent=self.frames_per_latent,
            padded=self.padding != "zeros",
            late=self.late,
            convolutions=2 if part.kind == "residual" else 1,
            grows=part.kind == "up",
            shrinks=part.kind == "down",
            residual=part.kind in ("residual", "down") or part.adds_input,
            block_input=held,
        )
        time, high, wide = part.stride
        if part.kind == "down":
            self.frames = (self.frames + time - 1) // time
            self.height, self.width = self.height // high, self.width // wide
            self.frames_per_latent //= time
        elif part.kind == "up":
            self.frames = self.frames * time - (time - 1)
            self.height, self.width = self.height * high, self.width * wide
            self.frames_per_latent *= time
        return layer
