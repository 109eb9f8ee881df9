"""How the video VAE trades time and exactness for memory; needs no torch."""

from dataclasses import dataclass
from typing import Any, Literal

from ltx_core.errors import ConfigError
from ltx_core.shapes import SPACE_STRIDE, PixelShape

PATCH_CONV = 4
"""Latent frames a chunk, of the guide's `vae_enable_patch_conv`: most of the memory saved, little of the speed lost."""
TEMPORAL_ROLL = 1
"""Latent frames a chunk, of its "more aggressive" `vae_enable_temporal_roll`: the least that chunks can reach."""

BATCH_PIXELS = 8 * 2**20
"""Clips smaller than this are worked on together until they reach it: 20 frames of 512x768 keep a GPU busy."""
MOST_BATCHED = 16


def auto_batch_size(shape: PixelShape, device: Any) -> int:
    """On a GPU so many clips that a batch has `BATCH_PIXELS` pixels, 1 to `MOST_BATCHED`; elsewhere 1. Of `device`,
    torch's or a name of its kind, only the type is read."""
    if device.type != "cuda":
        return 1
    pixels = shape.frames * shape.height * shape.width
    return max(1, min(BATCH_PIXELS // pixels, MOST_BATCHED))


@dataclass(frozen=True)
class VaeMemory:
    """What to cut a clip into. The default cuts nothing; every field works alone and together with the others.

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
        """Whether the result equals the whole pass to rounding."""
        return self.tile is None


WHOLE = VaeMemory()
"""Everything at once: the most memory, and the reference that the others are held to."""


@dataclass(frozen=True)
class VaeOptions:
    """What is asked for; `auto` is decided by what fits the device, among what is exact.

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
