"""What the configuration asks of the video VAE's memory, for encoding clips and decoding renders alike."""

from ltx_core.autoencoder.memory import VaeOptions
from tasks.shared import MemoryConfig


def vae_options(memory: MemoryConfig, tile: int | None = None, overlap: int = 64) -> VaeOptions:
    """Chunks and slices of `memory`, with the stage's own tiles, which change its results."""
    return VaeOptions(memory.vae_chunk_frames, tile, overlap, memory.vae_slicing)
