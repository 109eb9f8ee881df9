"""Stand-ins of a whole run at the released sizes: model, text encoder, footage and configuration, with random weights.

At toy sizes they are the miniature, so that scripts can be tried on a CPU.
"""

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3TextConfig

from benchmarks import full_size, released
from ltx_core.media.mp4 import write_mp4
from ltx_core.shapes import AUDIO_RATE
from ltx_core.tiny.gemma import build_gemma, published_tensors, train_tokenizer, write_gemma
from ltx_core.tiny.model import write_checkpoint

CLIPS = 16
SECONDS, FRAME_RATE, WIDTH, HEIGHT = 6, 25, 1280, 720
"""Of the footage."""
TONE = 220.0
PROMPTS = ("A wave of light rolls over a field of dots.", "A field of dots stands still while a low tone hums.")
FULL: dict[str, Any] = {
    "video": {"num_frames": 121, "frame_rate": FRAME_RATE},
    "train": {"steps": 150, "batch_size": 1, "rank": 32, "base_precision": "fp8"},
    "render": {"width": 832, "height": 480, "num_frames": 121, "num_steps": 20},
    "resolution": 480,
}
"""A clip of 720p becomes one of 832x480."""
TINY: dict[str, Any] = {
    "video": {"num_frames": 17, "frame_rate": FRAME_RATE},
    "train": {"steps": 6, "batch_size": 1, "rank": 4, "dtype": "fp32"},
    "render": {"width": 64, "height": 64, "num_frames": 17, "num_steps": 4, "dtype": "fp32"},
    "resolution": 64,
}


def write_stand_ins(folder: Path, *, tiny: bool) -> Path:
    """Write everything below `folder` and give the configuration's path."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, encoder = folder / "ltx-2.safetensors", folder / "gemma"
    if tiny:
        write_checkpoint(checkpoint, "2.0", 0)
        write_gemma(encoder, 0)
        write_all_footage(folder / "footage", tiny=True)
    else:
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:  # a CUDA context does not outlast a fork
            makings = [
                pool.submit(full_size.write, checkpoint),
                pool.submit(write_full_gemma, encoder),
                pool.submit(write_all_footage, folder / "footage", tiny=False),
            ]
            for making in makings:
                making.result()
    return write_config(folder, TINY if tiny else FULL)


def write_full_gemma(folder: Path) -> None:
    """Gemma 3 12B without eyes worth the name: toy tokenizer and vision encoder, the language model as released."""
    tokenizer = train_tokenizer()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    toy = build_gemma(tokenizer, 0).config.to_dict()
    ids = {name: toy["text_config"][name] for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    config = Gemma3Config(**toy | {"text_config": Gemma3TextConfig(**released.GEMMA_3_12B, **ids).to_dict()})
    described = {
        "architectures": [Gemma3ForConditionalGeneration.__name__],
        "dtype": "bfloat16",
        **config.to_diff_dict(),
    }
    (folder / "config.json").write_text(json.dumps(described))
    with torch.device("meta"):
        model = Gemma3ForConditionalGeneration(config)
    shapes = {name: tensor.shape for name, tensor in published_tensors(model).items()}
    full_size.stream(folder / "model.safetensors", shapes, {"format": "pt"})


def write_all_footage(folder: Path, *, tiny: bool) -> None:
    """Clips with moving dots and a tone, a caption beside each; written by all cores."""
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(write_one, [folder] * CLIPS, range(CLIPS), [tiny] * CLIPS))


def write_one(folder: Path, number: int, tiny: bool) -> None:
    """One clip, other than the others."""
    width, height, seconds = (128, 96, 1) if tiny else (WIDTH, HEIGHT, SECONDS)
    rows, columns = np.mgrid[0:height, 0:width]
    frames = np.empty((seconds * FRAME_RATE, height, width, 3), np.uint8)
    for frame in range(len(frames)):
        wave = np.sin((columns + (3 + number) * frame) / 40) * np.cos((rows - 2 * frame) / (25 + number))
        for channel in range(3):
            frames[frame, ..., channel] = 127 + 100 * wave * ((number + channel) % 3 + 1) / 3
    times = np.arange(seconds * AUDIO_RATE) / AUDIO_RATE
    tone = np.tile(0.2 * np.sin(2 * np.pi * TONE * (1 + number / CLIPS) * times), (2, 1)).astype(np.float32)
    path = folder / f"clip_{number:02d}.mp4"
    write_mp4(path, frames, FRAME_RATE, tone, AUDIO_RATE)
    path.with_suffix(".txt").write_text(f"A wave of light rolls over dots, pattern number {number}.\n")


def write_config(folder: Path, sizes: dict[str, Any]) -> Path:
    """A run as a user would configure it, but for what random weights need."""
    values = {
        "workspace": "workspace",
        "datasets": [
            {
                "id": "waves",
                "instance_data_dir": "footage",
                "resolution": sizes["resolution"],
                "resolution_type": "pixel",
                "eval_fraction": 0.1,
                "video": sizes["video"],
            }
        ],
        "model": {"checkpoint": "ltx-2.safetensors", "text_encoder": "gemma"},
        "prompts": {"validation": list(PROMPTS)},
        "split": {"max_frozen_fraction": 1.0},
        "train_lora": sizes["train"] | {"samples": {"every_steps": 0}},
        "render_validation": sizes["render"] | {"image_to_video_clips": 0, "audio_to_video_clips": 0},
    }
    path = folder / "ltx2-lora.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path
