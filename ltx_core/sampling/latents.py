"""Sampled latents on disk, between the phase that holds the transformer and the phase that holds the VAEs."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ltx_core.errors import DataError
from ltx_core.files.tensors import read_tensors, write_tensors


@dataclass(frozen=True)
class SampledLatents:
    """What sampling made of one request."""

    video: Tensor
    """[C, F, H, W] fp32, normalised."""
    audio: Tensor
    """[A, D] fp32, normalised and packed."""


def save_latents(path: Path, latents: SampledLatents) -> None:
    """Write to `path`, whole or not at all.

    Raises:
        StorageError: the disk is full or read-only.
    """
    write_tensors(path, {"video": latents.video, "audio": latents.audio}, {})


def load_latents(path: Path) -> SampledLatents:
    """Read what `save_latents` wrote.

    Raises:
        CheckpointError: the file is no safetensors file.
        DataError: the file holds something else.
    """
    tensors, _ = read_tensors(path)
    if tensors.keys() != {"video", "audio"}:
        raise DataError(f"{path} holds {sorted(tensors)}, not sampled latents (video, audio); delete it, render again")
    return SampledLatents(tensors["video"], tensors["audio"])
