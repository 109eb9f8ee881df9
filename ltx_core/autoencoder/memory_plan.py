"""How much memory the video VAE takes for a clip, by arithmetic, and the cheapest options that fit.

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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ltx_core.autoencoder.layers import KERNEL, Layer, decoder_layers, encoder_layers
from ltx_core.autoencoder.memory import PATCH_CONV, TEMPORAL_ROLL, WHOLE, VaeMemory
from ltx_core.errors import OutOfMemory
from ltx_core.shapes import TIME_STRIDE, PixelShape

GIB = 2**30
HEADROOM = 1.2
"""Of the arithmetic over the truth at worst, and for what the allocator cannot use."""
CANDIDATES = (
    WHOLE,
    VaeMemory(chunk_frames=PATCH_CONV),
    VaeMemory(chunk_frames=TEMPORAL_ROLL),
    VaeMemory(chunk_frames=TEMPORAL_ROLL, tile=512),
    VaeMemory(chunk_frames=TEMPORAL_ROLL, tile=256),
)
"""From the cheapest to the smallest; exact ones first."""
COLOURS = 3
FLOAT32_BYTES = 4


@dataclass(frozen=True)
class MemoryPlan:
    """A choice, and what it is expected to take beyond the weights, headroom included."""

    memory: VaeMemory
    peak_bytes: int


class ItemSize(NamedTuple):
    """Of a dtype, what the plan reads."""

    itemsize: int
    """Bytes."""


class DeviceKind(NamedTuple):
    """Of a device, what the plan reads."""

    type: str


NO_DEVICE = DeviceKind("meta")


@dataclass(frozen=True)
class UnbuiltVae:
    """A video VAE that is not built: what the plan reads of one that is."""

    config: Mapping[str, Any]
    """The arguments of diffusers' class."""
    dtype: ItemSize
    device: DeviceKind = NO_DEVICE


Predict = Callable[[Any, PixelShape, VaeMemory], int]
"""From a video VAE, built or not, a clip's shape, and how it is cut: bytes beyond the weights."""


def choose_memory(
    vae: Any, shape: PixelShape, budget_bytes: int, predict: Predict, candidates: Sequence[VaeMemory] = CANDIDATES
) -> MemoryPlan:
    """The first of `candidates` that fits; `predict` is `predict_encode_bytes` or `predict_decode_bytes`.

    Raises:
        OutOfMemory: none fits.
    """
    plans = [MemoryPlan(memory, round(predict(vae, shape, memory) * HEADROOM)) for memory in candidates]
    for plan in plans:
        if plan.peak_bytes <= budget_bytes:
            return plan
    least = min(plan.peak_bytes for plan in plans)
    raise OutOfMemory(
        f"a clip of {list(shape)} frames, height, width needs {least / GIB:.1f} GiB in the video VAE at the least, and "
        f"{budget_bytes / GIB:.1f} GiB are free. Use shorter or smaller clips, or a device with more memory"
    )


def predict_encode_bytes(vae: Any, shape: PixelShape, memory: VaeMemory = WHOLE) -> int:
    """Peak of `encode_video` beyond the weights, for one clip of bytes."""
    tile = _tile(shape, memory)
    peak = _peak(vae, encoder_layers(vae.config, tile), _chunk(shape, memory))
    frames = min(tile.frames, TIME_STRIDE * (memory.chunk_frames or tile.frames))
    taken = COLOURS * frames * tile.height * tile.width
    return max(peak + taken * _bytes(vae), taken * (FLOAT32_BYTES + _bytes(vae))) + _values(shape)


def predict_decode_bytes(vae: Any, shape: PixelShape, memory: VaeMemory = WHOLE) -> int:
    """Peak of `decode_video` beyond the weights, for one clip to bytes."""
    tile = _tile(shape, memory)
    peak = _peak(vae, decoder_layers(vae.config, tile.latent()), _chunk(shape, memory))
    if memory.tile is not None:
        blended = _values(shape) * FLOAT32_BYTES
        made = _values(tile) * (2 * FLOAT32_BYTES + _bytes(vae))
        held = _values(tile) * _bytes(vae) if memory.chunk_frames else 0
        return max(peak + held, made) + blended + _values(shape)
    frames = min(shape.frames, TIME_STRIDE * (memory.chunk_frames or shape.frames))
    made = COLOURS * frames * shape.height * shape.width * (FLOAT32_BYTES + _bytes(vae))
    return max(peak, made) + _values(shape)


def _tile(shape: PixelShape, memory: VaeMemory) -> PixelShape:
    if memory.tile is None:
        return shape
    return PixelShape(shape.frames, min(shape.height, memory.tile), min(shape.width, memory.tile))


def _values(shape: PixelShape) -> int:
    return COLOURS * shape.frames * shape.height * shape.width


def _bytes(vae: Any) -> int:
    return int(vae.dtype.itemsize)


def _chunk(shape: PixelShape, memory: VaeMemory) -> int | None:
    """Latent frames at once, or None if all are: one chunk carries nothing."""
    chunk = memory.chunk_frames
    return None if chunk is None or chunk >= shape.latent().frames else chunk


def _peak(vae: Any, layers: Sequence[Layer], chunk_frames: int | None) -> int:
    copies = vae.device.type == "cuda"
    carried = 0 if chunk_frames is None else sum(map(_carried, layers))
    return (max(_live(layer, chunk_frames, copies) for layer in layers) + carried) * _bytes(vae)


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
