"""Write the miniature checkpoint in Lightricks' layouts, one file or LTX-2.5's pack: random weights, real topology."""

from pathlib import Path

import torch
from torch import Tensor

from ltx_core.checkpoint.keys import PREFIXES, UNUSED, to_original_keys
from ltx_core.miniature.calibrate import calibrate
from ltx_core.miniature.gemma4 import write_packed_gemma
from ltx_core.miniature.header import VIDEO_CHANNELS, Generation, config, metadata
from ltx_core.miniature.modules import build_modules
from ltx_core.miniature.weights import save_tensors, seeded

TRANSFORMER = "diffusion_models/ltx-2.5-miniature-transformer-bf16.safetensors"
TEXT_ENCODER = "text_encoders/gemma4-miniature-with-proj-ltx-2.5-bf16.safetensors"
VIDEO_VAE = "vae/ltx-2.5-miniature-video-vae-conv-bf16.safetensors"
AUDIO_VAE = "vae/ltx-2.5-miniature-audio-vae-bf16.safetensors"


def write_checkpoint(path: Path, generation: Generation, seed: int) -> Path:
    """Write the checkpoint in bfloat16; the same bytes for the same generation and seed.

    Raises:
        StorageError: the disk is full or read-only.
    """
    save_tensors(path, checkpoint_tensors(generation, seed), metadata(generation))
    return path


def write_pack(folder: Path, seed: int) -> Path:
    """Write LTX-2.5 as it is published, in four files; the same bytes for the same seed. Gives the text encoder's path.

    The text projection lies with the text encoder, and the video VAE's tensors have no prefix.

    Raises:
        StorageError: the disk is full or read-only.
    """
    tensors = checkpoint_tensors("2.5", seed)

    def starting_with(*prefixes: str) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in tensors.items() if name.startswith(prefixes)}

    video = {name.removeprefix(PREFIXES["video_vae"]): t for name, t in starting_with(PREFIXES["video_vae"]).items()}
    sound = starting_with(PREFIXES["audio_vae"], PREFIXES["vocoder"])
    save_tensors(folder / TRANSFORMER, starting_with(PREFIXES["transformer"]), metadata("2.5", "transformer"))
    save_tensors(folder / VIDEO_VAE, video, metadata("2.5", "vae"))
    save_tensors(folder / AUDIO_VAE, sound, metadata("2.5", "audio_vae", "vocoder"))
    return write_packed_gemma(folder / TEXT_ENCODER, starting_with(PREFIXES["text_projection"]), seed)


def checkpoint_tensors(generation: Generation, seed: int) -> dict[str, Tensor]:
    """All tensors under Lightricks' names, bfloat16."""
    sections = config(generation)
    with seeded(seed):
        modules = build_modules(sections)
    calibrate(modules, sections)
    tensors: dict[str, Tensor] = {}
    for component, module in modules.items():
        tensors |= to_original_keys(component, module.state_dict())
    # Statistics that released files carry and nothing reads.
    for name in UNUSED["video_vae"]:
        tensors[PREFIXES["video_vae"] + name] = torch.ones(VIDEO_CHANNELS)
    return {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}
