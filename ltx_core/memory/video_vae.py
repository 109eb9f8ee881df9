"""The video VAE's memory: its options, what each takes by arithmetic, and the ways to take less. No torch.

Counted are tensors beyond the weights. With n the values that a layer takes for the frames it is given at once, p the
same with two frames more (time padding; twice p if space is padded by copying) and m the values it makes:

    convolution          n + p + m
    residual block       2 n + p + m     its input, the activation, the padded copy, the result
    downsampling         2 n + p + 2 m   its input, that with the first frame again, the padded copy, result and means
    upsampling           n + max(p + m, 2 m), and m more with a residual

Each has two frames more beside, what time is padded with. Whole: n is for all frames, and diffusers' block still holds
its own input. In chunks: n is for the chunk, and every layer carries two frames a convolution, and two a residual block
that sees the future. The peak is the largest layer, plus what is carried, plus the clip's own pixels. On a GPU a
convolution may copy what it takes and makes into a layout of its own: p + m more.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from ltx_core.checkpoint.diffusion_vae import DECODER
from ltx_core.checkpoint.expected.video_vae import KERNEL, Network, Part, decoder, encoder
from ltx_core.errors import ConfigError
from ltx_core.memory.plan import GIB, Estimate
from ltx_core.shapes import SPACE_STRIDE, TIME_STRIDE, LatentShape, PixelShape

PATCH_CONV = 4
"""Latent frames a chunk, of the guide's `vae_enable_patch_conv`: most of the memory saved, little of the speed lost."""
TEMPORAL_ROLL = 1
"""Latent frames a chunk, of its "more aggressive" `vae_enable_temporal_roll`: the least that chunks can reach."""

HEADROOM = 1.2
"""Of the arithmetic over the truth at worst, and for what the allocator cannot use."""
COLOURS = 3
DIFFUSION_TILE = (80, 768, 768)
"""Frames, height and width of the largest tile of a diffusion decoder: diffusers' and Lightricks'."""
DIFFUSION_WIDTHS = 10
"""Values of a place in its last stage at once, in widths of the model: what a block takes, its context, norm and
modulation, query, key and value, those rotated, and the result."""
ROTATION_BYTES = 8
"""Of a value while positions are put on it, in float32."""
CONVOLUTIONAL_FILE = "the pack's VAE with the convolutional decoder, ltx-2.5-video-vae-conv-bf16.safetensors"
FLOAT32_BYTES = 4
BATCH_PIXELS = 8 * 2**20
"""Clips smaller than this are worked on together until they reach it: 20 frames of 512x768 keep a GPU busy."""
MOST_BATCHED = 16


def auto_batch_size(shape: PixelShape, *, on_gpu: bool) -> int:
    """On a GPU so many clips that a batch has `BATCH_PIXELS` pixels, 1 to `MOST_BATCHED`; elsewhere 1."""
    if not on_gpu:
        return 1
    pixels = shape.frames * shape.height * shape.width
    return max(1, min(BATCH_PIXELS // pixels, MOST_BATCHED))


@dataclass(frozen=True)
class VaeMemory:
    """The pieces that a clip is cut into. The default cuts nothing; fields work alone and together.

    Raises:
        ConfigError: a size that cannot be.
    """

    chunk_frames: int | None = None
    """Latent frames (8 pixel frames each) that are worked on at once. Exact: equals the whole pass to rounding."""
    tile: int | None = None
    """Pixel edge of square tiles, a multiple of 32. Not exact: a tile does not see its neighbours."""
    overlap: int = 64
    """Pixels that neighbouring tiles share at least and are blended over, a multiple of 32 below `tile`."""
    slicing: bool = False
    """One clip of a batch at a time. Exact; does nothing for a single clip."""

    def __post_init__(self) -> None:
        if self.chunk_frames is not None and self.chunk_frames < 1:
            raise ConfigError(f"chunk_frames is {self.chunk_frames}; at least 1 latent frame, or None for all at once")
        if self.tile is None:
            return
        for name, edge in (("tile", self.tile), ("overlap", self.overlap)):
            if edge < SPACE_STRIDE or edge % SPACE_STRIDE:
                raise ConfigError(f"{name} is {edge} pixels; a multiple of {SPACE_STRIDE} above 0 is wanted")
        if self.overlap >= self.tile:
            raise ConfigError(f"tiles of {self.tile} pixels cannot overlap by {self.overlap}; make the tiles larger")

    @property
    def exact(self) -> bool:
        """True if the result equals the whole pass to rounding."""
        return self.tile is None


WHOLE = VaeMemory()
"""Everything at once: the most memory, and the reference that the others are held to."""


@dataclass(frozen=True)
class VaeOptions:
    """The settings that are asked for; `auto` is decided by what fits the device, among what is exact.

    Tiles are never chosen by themselves, because they change results.
    """

    chunk_frames: int | Literal["auto"] | None = "auto"
    tile: int | None = None
    overlap: int = 64
    slicing: bool | Literal["auto"] = "auto"

    def candidates(self, batch: int = 1) -> list[VaeMemory]:
        """From the fastest to the smallest, for so many clips at once."""
        chunks = (None, PATCH_CONV, TEMPORAL_ROLL) if self.chunk_frames == "auto" else (self.chunk_frames,)
        if self.slicing == "auto":
            slicings = [(chunk, True) for chunk in chunks]
            pairs = [(chunks[0], False), *slicings] if batch > 1 else [(chunk, False) for chunk in chunks]
        else:
            pairs = [(chunk, self.slicing) for chunk in chunks]
        return [VaeMemory(chunk, self.tile, self.overlap, slicing) for chunk, slicing in pairs]


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
        """Return what a part takes and gives; the walk goes on behind it. `held`: values that the block around it
        holds."""
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


@dataclass(frozen=True)
class VaeWork:
    """Clips of one shape that are encoded or decoded at once."""

    arguments: Mapping[str, Any]
    """Of diffusers' class."""
    item_bytes: int
    """Of its dtype."""
    shape: PixelShape
    decodes: bool
    batch: int = 1
    asked: VaeOptions = VaeOptions()
    copies: bool = False
    """True on a GPU, where a convolution may copy what it takes and makes."""

    @classmethod
    def of(
        cls, vae: Any, shape: PixelShape, *, decodes: bool, batch: int = 1, asked: VaeOptions = VaeOptions()
    ) -> Self:
        """The work of a VAE that is built, where it lies."""
        return cls(vae.config, vae.dtype.itemsize, shape, decodes, batch, asked, vae.device.type == "cuda")

    def ways(self) -> Iterable[VaeMemory]:
        """Those that are exact, or that were asked for."""
        return self.asked.candidates(self.batch)

    def estimate(self, options: VaeMemory) -> Estimate:
        """The memory beyond the weights."""
        peak = self.clip_bytes(options) * (1 if options.slicing else self.batch)
        return Estimate({"activations": peak}, reserve_bytes=round(peak * HEADROOM) - peak)

    def clip_bytes(self, memory: VaeMemory) -> int:
        """The peak of `encode_video` or `decode_video` beyond the weights, for one clip of bytes."""
        return self._decoding(memory) if self.decodes else self._encoding(memory)

    def why(self, options: VaeMemory, budget_bytes: int) -> str:
        """The cuts and the memory, in words."""
        if self.decodes and DECODER in self.arguments:
            parts = [f"by diffusion, in tiles of {' x '.join(map(str, DIFFUSION_TILE))}"]
        else:
            parts = self._cuts(options)
        how = ", ".join(part for part in parts if part) or "whole"
        return (
            f"video VAE, {'x'.join(map(str, self.shape))}: {how}; takes "
            f"{self.estimate(options).needed_bytes / GIB:.2f} GiB, {budget_bytes / GIB:.1f} GiB are free"
        )

    @staticmethod
    def _cuts(options: VaeMemory) -> list[str]:
        return [
            f"{options.chunk_frames} latent frames at once" if options.chunk_frames else "",
            f"tiles of {options.tile} pixels over {options.overlap}" if options.tile else "",
            "one clip of a batch at a time" if options.slicing else "",
        ]

    def refusal(self, least: VaeMemory, budget_bytes: int) -> str:
        """The memory that is needed at the least."""
        return (
            f"a clip of {list(self.shape)} frames, height, width needs "
            f"{self.estimate(least).needed_bytes / GIB:.1f} GiB in the video VAE at the least, and "
            f"{budget_bytes / GIB:.1f} GiB are free. Use shorter or smaller clips, or a device with more memory"
            + (f", or {CONVOLUTIONAL_FILE}" if self.decodes and DECODER in self.arguments else "")
        )

    def _encoding(self, memory: VaeMemory) -> int:
        tile = _tile(self.shape, memory)
        peak = self._peak(encoder_layers(self.arguments, tile), memory)
        frames = min(tile.frames, TIME_STRIDE * (memory.chunk_frames or tile.frames))
        taken = COLOURS * frames * tile.height * tile.width
        return max(peak + taken * self.item_bytes, taken * (FLOAT32_BYTES + self.item_bytes)) + _values(self.shape)

    def _decoding(self, memory: VaeMemory) -> int:
        if (diffusion := self.arguments.get(DECODER)) is not None:
            return diffusion_bytes(diffusion, self.shape, self.item_bytes)
        shape, tile, item_bytes = self.shape, _tile(self.shape, memory), self.item_bytes
        peak = self._peak(decoder_layers(self.arguments, tile.latent()), memory)
        if memory.tile is not None:
            blended = _values(shape) * FLOAT32_BYTES
            made = _values(tile) * (2 * FLOAT32_BYTES + item_bytes)
            held = _values(tile) * item_bytes if memory.chunk_frames else 0
            return max(peak + held, made) + blended + _values(shape)
        frames = min(shape.frames, TIME_STRIDE * (memory.chunk_frames or shape.frames))
        made = COLOURS * frames * shape.height * shape.width * (FLOAT32_BYTES + item_bytes)
        return max(peak, made) + _values(shape)

    def _peak(self, layers: Sequence[Layer], memory: VaeMemory) -> int:
        chunk = _chunk(self.shape, memory)
        carried = 0 if chunk is None else sum(map(_carried, layers))
        return (max(_live(layer, chunk, self.copies) for layer in layers) + carried) * self.item_bytes


def least_diffused(arguments: Mapping[str, Any]) -> LatentShape:
    """The smallest latent of which every place in every stage of a diffusion decoder has as many neighbours as it looks
    at; smaller ones are padded, as Lightricks does. `arguments` are those of diffusers' class."""
    kernels = [*arguments["decoder_stage_kernels"], arguments["decoder_stage5_kernel"]]
    least, scale = [1, 1, 1], [1, 1, 1]
    for kernel, stride in zip(kernels, [*arguments["decoder_upsample_strides"], (1, 1, 1)], strict=True):
        least = [max(now, -(-size // edge)) for now, size, edge in zip(least, kernel, scale, strict=True)]
        scale = [edge * step for edge, step in zip(scale, stride, strict=True)]
    frames = max(least[0], 1 - (-(kernels[-1][0] - 1) // TIME_STRIDE))  # of which the first stands for one alone
    return LatentShape(frames, least[1], least[2])


def diffusion_bytes(arguments: Mapping[str, Any], shape: PixelShape, item_bytes: int) -> int:
    """The peak of a diffusion decoder beyond its weights: the last stage on the largest tile, beside features of the
    whole clip that tiles are cut from and the pixels that are done."""
    padded = [max(*edges) for edges in zip(shape, least_diffused(arguments).pixels(), strict=True)]
    area, (features, channels) = int(arguments["patch_size"]) ** 2, arguments["decoder_stage_channels"][-2:]
    places = math.prod(min(*edges) for edges in zip(padded, DIFFUSION_TILE, strict=True)) // area
    work = places * channels * (DIFFUSION_WIDTHS * item_bytes + ROTATION_BYTES)
    cells = math.prod(padded) // (area * math.prod(arguments["decoder_upsample_strides"][-1]))
    return work + cells * features * item_bytes + _values(shape) * (2 * FLOAT32_BYTES + item_bytes)


def _tile(shape: PixelShape, memory: VaeMemory) -> PixelShape:
    if memory.tile is None:
        return shape
    return PixelShape(shape.frames, min(shape.height, memory.tile), min(shape.width, memory.tile))


def _values(shape: PixelShape) -> int:
    return COLOURS * shape.frames * shape.height * shape.width


def _chunk(shape: PixelShape, memory: VaeMemory) -> int | None:
    """Latent frames at once, or None if all are: one chunk carries nothing."""
    chunk = memory.chunk_frames
    return None if chunk is None or chunk >= shape.latent().frames else chunk


def _carried(layer: Layer) -> int:
    """Values kept from chunk to chunk."""
    frames = layer.convolutions * (KERNEL - 1)
    if layer.late and layer.residual:
        frames += layer.convolutions * (KERNEL - 1) // 2
    return frames * layer.frame_values


def _live(layer: Layer, chunk_frames: int | None, copies: bool) -> int:
    """Values that are there at once while a layer works; the terms of this module's table."""
    frames = layer.frames
    if chunk_frames is not None:
        flushed = KERNEL - 1 if layer.late else 0  # the last piece of a residual block grows by what was late
        frames = min(frames, chunk_frames * layer.frames_per_latent + flushed)
    n, m = frames * layer.frame_values, layer.result * frames // layer.frames
    padded = n + (KERNEL - 1) * layer.frame_values
    p = padded * (2 if layer.padded else 1)
    if layer.grows:
        live = n + max(p + m, 2 * m) + (m if layer.residual else 0)
    elif layer.shrinks:
        live = 2 * n + p + 2 * m
    else:
        live = n * (2 if layer.residual else 1) + p + m
    live += (KERNEL - 1) * layer.frame_values
    if chunk_frames is None:
        live += layer.block_input
    return live + (padded + m if copies else 0)
