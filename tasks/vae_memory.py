"""What the configuration asks of the video VAE's memory, for encoding clips and decoding renders alike."""

import math

from ltx_core.autoencoder.device_memory import describe, plan_decoding, plan_encoding
from ltx_core.autoencoder.memory import VaeOptions, auto_batch_size
from ltx_core.autoencoder.memory_plan import GIB, DeviceKind, ItemSize, MemoryPlan, UnbuiltVae
from ltx_core.checkpoint.expected.tree import flat
from ltx_core.checkpoint.expected.video_vae import video_vae
from ltx_core.shapes import PixelShape
from ltx_core.training.memory_plan import ITEM_BYTES
from tasks.shared import MemoryConfig, Shared
from tasks.weights import open_weights

SOUND_BYTES = 2**29
"""Of the audio VAE and the vocoder in float32, which lie beside the video VAE."""


def vae_options(memory: MemoryConfig, tile: int | None = None, overlap: int = 64) -> VaeOptions:
    """Chunks and slices of `memory`, with the stage's own tiles, which change its results."""
    return VaeOptions(memory.vae_chunk_frames, tile, overlap, memory.vae_slicing)


def decoding_line(shared: Shared, shape: PixelShape, dtype: str, budget_bytes: int) -> str:
    """For people: what decoding renders of this shape takes of that much memory, and how it is cut.

    Raises:
        OutOfMemory: nothing exact fits.
    """
    vae, weights = _video_vae(shared, dtype)
    plan = plan_decoding(vae, shape, vae_options(shared.memory), free=budget_bytes - weights)
    return _line(plan, shape, weights, budget_bytes)


def encoding_line(
    shared: Shared, shape: PixelShape, dtype: str, budget_bytes: int, options: VaeOptions, batch_size: int | None
) -> str:
    """The same of encoding clips of this shape; `batch_size` at once, None for as many as a GPU is given by itself."""
    vae, weights = _video_vae(shared, dtype)
    batch = batch_size or auto_batch_size(shape, DeviceKind("cuda"))
    plan = plan_encoding(vae, shape, options, batch=batch, free=budget_bytes - weights)
    return f"{_line(plan, shape, weights, budget_bytes)}; {batch} at once"


def _video_vae(shared: Shared, dtype: str) -> tuple[UnbuiltVae, int]:
    """As the header describes it; and the bytes that all its weights take, the sound's among them."""
    arguments, item_bytes = open_weights(shared.model).checkpoint.arguments("video_vae"), ITEM_BYTES[dtype]
    num_weights = sum(map(math.prod, flat(video_vae(arguments)).values()))
    return UnbuiltVae(arguments, ItemSize(item_bytes)), SOUND_BYTES + num_weights * item_bytes


def _line(plan: MemoryPlan, shape: PixelShape, weights: int, budget_bytes: int) -> str:
    return f"{describe(plan, shape, budget_bytes - weights)}; its weights take {weights / GIB:.1f} GiB beside"
