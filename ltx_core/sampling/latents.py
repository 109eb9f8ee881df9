"""Sampled latents on disk, between the phase that holds the transformer and the phase that holds the VAEs."""

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ltx_core.errors import DataError
from ltx_core.files.atomic import write_bytes


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
    write_bytes(path, save({"video": latents.video.contiguous(), "audio": latents.audio.contiguous()}))


def load_latents(path: Path) -> SampledLatents:
    """Read what `save_latents` wrote.

    Raises:
        DataError: the file is something else.
    """
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise DataError(f"{path} is not a safetensors file ({error}); delete it and render again") from error
    if tensors.keys() != {"video", "audio"}:
        raise DataError(f"{path} holds {sorted(tensors)}, not sampled latents (video, audio); delete it, render again")
    return SampledLatents(tensors["video"], tensors["audio"])
