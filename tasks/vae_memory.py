"""What the configuration asks of the video VAE's memory, for encoding clips and decoding renders alike."""

from typing import TYPE_CHECKING, Any

from ltx_core.autoencoder.memory import VaeOptions
from ltx_core.shapes import PixelShape
from tasks.shared import MemoryConfig, Shared
from tasks.weights import open_weights

if TYPE_CHECKING:
    from ltx_core.autoencoder.memory_plan import MemoryPlan

SOUND_BYTES = 2**29
"""Of the audio VAE and the vocoder in float32, which lie beside the video VAE."""


def vae_options(memory: MemoryConfig, tile: int | None = None, overlap: int = 64) -> VaeOptions:
    """Chunks and slices of `memory`, with the stage's own tiles, which change its results."""
    return VaeOptions(memory.vae_chunk_frames, tile, overlap, memory.vae_slicing)


def decoding_line(shared: Shared, shape: PixelShape, dtype: str, budget_bytes: int) -> str:
    """For people: what decoding renders of this shape takes of that much memory, and how it is cut. Imports torch.

    Raises:
        OutOfMemory: nothing exact fits.
    """
    from ltx_core.autoencoder.device_memory import plan_decoding

    vae, weights = _video_vae(shared, dtype)
    plan = plan_decoding(vae, shape, vae_options(shared.memory), free=budget_bytes - weights)
    return _line(plan, shape, weights, budget_bytes)


def encoding_line(
    shared: Shared, shape: PixelShape, dtype: str, budget_bytes: int, options: VaeOptions, batch_size: int | None
) -> str:
    """The same of encoding clips of this shape; `batch_size` at once, None for as many as a GPU is given by itself."""
    import torch

    from ltx_core.autoencoder.device_memory import plan_encoding
    from ltx_core.autoencoder.encoding import auto_batch_size

    vae, weights = _video_vae(shared, dtype)
    batch = batch_size or auto_batch_size(shape, torch.device("cuda"))
    plan = plan_encoding(vae, shape, options, batch=batch, free=budget_bytes - weights)
    return f"{_line(plan, shape, weights, budget_bytes)}; {batch} at once"


def _video_vae(shared: Shared, dtype: str) -> tuple[Any, int]:
    """Without weights; and the bytes that all of them take, the sound's among them."""
    from ltx_core.checkpoint.load import empty_video_vae
    from tasks.device import torch_dtype

    vae = empty_video_vae(open_weights(shared.model).checkpoint, dtype=torch_dtype(dtype))
    return vae, SOUND_BYTES + sum(tensor.numel() * tensor.element_size() for tensor in vae.state_dict().values())


def _line(plan: "MemoryPlan", shape: PixelShape, weights: int, budget_bytes: int) -> str:
    from ltx_core.autoencoder.device_memory import describe
    from ltx_core.autoencoder.memory_plan import GIB

    return f"{describe(plan, shape, budget_bytes - weights)}; its weights take {weights / GIB:.1f} GiB beside"
