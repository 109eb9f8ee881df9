"""Sizes of the video VAE's layers, read off its modules: what the memory plan counts with."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ltx_core.shapes import TIME_STRIDE, LatentShape, PixelShape

KERNEL = 3
"""Of every causal convolution, in time; a piece is given `KERNEL - 1` frames more."""


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


def encoder_layers(vae: Any, shape: PixelShape) -> list[Layer]:
    """The encoder's layers for a clip, in order of execution."""
    encoder = vae.encoder
    patch = encoder.patch_size
    walk = _Walk(LatentShape(shape.frames, shape.height // patch, shape.width // patch), TIME_STRIDE, late=False)
    layers = [walk.plain(encoder.conv_in)]
    for block in encoder.down_blocks:
        held = walk.values(block.resnets[0].conv1.in_channels)
        layers += [walk.resnet(resnet, held) for resnet in block.resnets]
        layers += [walk.down(layer, held) for layer in block.downsamplers or ()]
    layers += _middle(walk, encoder.mid_block)
    return [*layers, walk.plain(encoder.conv_out)]


def decoder_layers(vae: Any, shape: LatentShape) -> list[Layer]:
    """The decoder's layers for a clip, in order of execution."""
    decoder = vae.decoder
    walk = _Walk(shape, 1, late=not decoder.is_causal)
    layers = [walk.plain(decoder.conv_in), *_middle(walk, decoder.mid_block)]
    for block in decoder.up_blocks:
        first = block.conv_in or block.upsamplers[0]
        held = walk.values((first.conv1 if block.conv_in else first.conv).in_channels)
        layers += [walk.resnet(resnet, held) for resnet in (block.conv_in,) if resnet is not None]
        layers += [walk.up(layer, held) for layer in block.upsamplers or ()]
        layers += [walk.resnet(resnet, held) for resnet in block.resnets]
    return [*layers, walk.plain(decoder.conv_out)]


def _middle(walk: "_Walk", block: Any) -> Iterator[Layer]:
    held = walk.values(block.resnets[0].conv1.in_channels) if block.resnets else 0
    return (walk.resnet(resnet, held) for resnet in block.resnets)


class _Walk:
    """Frames, height and width where the walk is."""

    def __init__(self, start: LatentShape, frames_per_latent: int, *, late: bool) -> None:
        self.frames, self.height, self.width = start
        self.frames_per_latent, self.late = frames_per_latent, late

    def values(self, channels: int) -> int:
        return channels * self.frames * self.height * self.width

    def plain(self, conv: Any) -> Layer:
        return self._layer(conv, self.values(conv.out_channels))

    def resnet(self, block: Any, held: int) -> Layer:
        result = self.values(block.conv2.out_channels)
        return self._layer(block.conv1, result, convolutions=2, residual=True, block_input=held)

    def down(self, layer: Any, held: int) -> Layer:
        time, high, wide = layer.stride
        result = self.values(layer.conv.out_channels)
        here = self._layer(layer.conv, result, shrinks=True, residual=True, block_input=held)
        self.frames = (self.frames + time - 1) // time
        self.height, self.width = self.height // high, self.width // wide
        self.frames_per_latent //= time
        return here

    def up(self, layer: Any, held: int) -> Layer:
        time, high, wide = layer.stride
        result = self.values(layer.conv.out_channels)
        here = self._layer(layer.conv, result, grows=True, residual=layer.residual, block_input=held)
        self.frames = self.frames * time - (time - 1)
        self.height, self.width = self.height * high, self.width * wide
        self.frames_per_latent *= time
        return here

    def _layer(self, conv: Any, result: int, **kind: Any) -> Layer:
        return Layer(
            frames=self.frames,
            frame_values=conv.in_channels * self.height * self.width,
            result=result,
            frames_per_latent=self.frames_per_latent,
            padded=conv.conv.padding_mode != "zeros",
            late=self.late,
            **kind,
        )
