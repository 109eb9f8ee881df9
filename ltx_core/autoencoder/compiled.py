"""The video VAE's encoder compiled for the shapes of which there are enough clips. Equal to eager to rounding."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor

from ltx_core.shapes import PixelShape

COMPILE_SECONDS = 25.0
"""What compiling one shape costs, about, on the machine of docs/benchmarks.md."""
SAVED_SECONDS_PER_PIXEL = 0.103 / (121 * 512 * 768)
MOST_COMPILED = 8
"""Shapes; PyTorch compiles one function so often before it gives up."""


def shapes_to_compile(
    shapes: Iterable[PixelShape], wanted: bool | Literal["auto"], device: torch.device
) -> frozenset[PixelShape]:
    """Of the shapes of all clips that are left, those to compile for.

    `auto`: on a GPU, where what compiling saves is more than what it costs. True: every shape, but no more than
    `MOST_COMPILED`, those with the most pixels.
    """
    pixels: Counter[PixelShape] = Counter()
    for shape in shapes:
        pixels[shape] += shape.frames * shape.height * shape.width
    if wanted == "auto":
        worth = COMPILE_SECONDS / SAVED_SECONDS_PER_PIXEL if device.type == "cuda" else float("inf")
    else:
        worth = 0 if wanted else float("inf")
    return frozenset(shape for shape, number in pixels.most_common(MOST_COMPILED) if number > worth)


def compiled_encoder(vae: Any) -> Callable[[Tensor], Tensor]:
    """The whole encoder as one graph, compiled anew for each shape.

    Inductor fuses norms, activations and padding into few kernels. On a GPU the weights are laid out channels last
    before, as cuDNN's fastest convolutions want them: 0.223 s a clip of 121x512x768 on one H200, 0.257 s without,
    0.326 s eager. Eager calls of the same encoder then differ by rounding.
    """
    if vae.device.type == "cuda":
        vae.encoder.to(memory_format=torch.channels_last_3d)
    compiled: Callable[[Tensor], Tensor] = torch.compile(vae.encoder, fullgraph=True, dynamic=False)
    return compiled
