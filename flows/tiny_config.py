"""The configurations that go with the miniature and with the tiny trained model: real options at toy sizes."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from flows.config import DEFAULT_CONFIG
from ltx_core.io.atomic import write_bytes

if TYPE_CHECKING:
    from ltx_core.tiny.model import Miniature


TRAINED_HEADER = """\
# A run that teaches the tiny LTX-2 something new. docs/config.md lists every option with its default.
# Paths are relative to this file.
"""
HEADER = """\
# A run on the miniature: real options at toy sizes. docs/config.md lists every option with its default.
# Paths are relative to this file.
"""


def write_config(folder: Path, made: "Miniature") -> Path:
    """Write `ltx2-lora.yaml` into the miniature's folder and give its path."""
    return _write(folder, HEADER, _values(folder, made))


def write_trained_config(folder: Path, made: "Miniature", prompts: Sequence[str]) -> Path:
    """Write `ltx2-lora.yaml` for the tiny model that has learnt, and give its path. `prompts` are rendered."""
    values = {
        "workspace": "workspace",
        "datasets": [
            {
                "id": "tiny",
                "instance_data_dir": os.path.relpath(made.footage, folder),
                "resolution": 96,
                "resolution_type": "pixel",
                "eval_fraction": 0.15,
                "video": {"num_frames": 17, "frame_rate": 25},
                "repeats": 10,
            }
        ],
        "model": {
            "checkpoint": os.path.relpath(made.checkpoint, folder),
            "text_encoder": os.path.relpath(made.text_encoder, folder),
        },
        "prompts": {"validation": list(prompts), "negative": ""},  # it knows no words for bad videos
        "memory": {"cpu_threads": 2},
        "split": {"max_frozen_fraction": 1.0},
        "embed_text": {"dtype": "fp32"},
        "encode_latents": {"dtype": "fp32"},
        "train_lora": {
            "steps": 200,
            "batch_size": 4,
            "learning_rate": 3.0e-3,
            "scheduler": "cosine",
            "warmup_steps": 10,
            "rank": 32,
            "dtype": "fp32",
            "activation_checkpointing": 0.0,
            "eval_interval": 100,
            "log_interval": 5,
            "samples": {"every_steps": 100, "audio_cfg": 3.0, "rescale": 0.0},
        },
        "render_validation": {
            "width": 128,
            "height": 96,
            "num_frames": 17,
            "num_steps": 20,
            "audio_cfg": 3.0,
            "rescale": 0.0,
            "dtype": "fp32",
            "seeds": [42],
            "image_to_video_clips": 1,
            "audio_to_video_clips": 1,
        },
    }
    return _write(folder, TRAINED_HEADER, values)


def _write(folder: Path, header: str, values: dict[str, Any]) -> Path:
    path = folder / DEFAULT_CONFIG
    write_bytes(path, (header + yaml.safe_dump(values, sort_keys=False, width=120, allow_unicode=True)).encode())
    return path


def _values(folder: Path, made: "Miniature") -> dict[str, Any]:
    def relative(path: Path) -> str:
        return os.path.relpath(path, folder)

    in_pack = made.text_encoder.is_relative_to(made.checkpoint)
    encoder = {} if in_pack else {"text_encoder": relative(made.text_encoder)}
    return {
        "workspace": "workspace",
        "datasets": [
            {
                "id": "miniature",
                "instance_data_dir": relative(made.footage),
                "resolution": 64,
                "eval_fraction": 0.15,
                "video": {"num_frames": 17, "frame_rate": 25},
                "repeats": 2,
            }
        ],
        "model": {"checkpoint": relative(made.checkpoint)} | encoder,
        "prompts": {
            "validation": [
                "A red ball rolls from left to right over a dark floor while a low tone hums.",
                "Coloured bars turn slowly around the centre, a soft hiss in the background.",
            ],
            **_conditioned_prompts(folder, made),
        },
        "memory": {"cpu_threads": 1},
        "embed_text": {"dtype": "fp32", "shard_max_samples": 4},
        "encode_latents": {"dtype": "fp32", "shard_max_samples": 4},
        "train_lora": {
            "steps": 60,
            "batch_size": 2,
            "gradient_accumulation_steps": 2,
            "learning_rate": 5.0e-3,
            "scheduler": "cosine",
            "warmup_steps": 5,
            "rank": 8,
            "dtype": "fp32",
            "activation_checkpointing": 0.0,
            "checkpoint_interval": 10,
            "eval_interval": 20,
            "log_interval": 2,
            "samples": {"every_steps": 0, "num_steps": 8, "allow_broken_base": True},  # of random weights
        },
        "render_validation": {
            "width": 128,
            "height": 96,
            "num_frames": 25,
            "num_steps": 8,
            "dtype": "fp32",
            "seeds": [42],
            "image_to_video_clips": 1,
            "audio_to_video_clips": 1,
        },
    }


def _conditioned_prompts(folder: Path, made: "Miniature") -> dict[str, Any]:
    """Renders from an image and from audio, if the miniature has them."""
    prompts: dict[str, Any] = {}
    if made.image is not None:
        prompt = "A face looks ahead and talks, in front of a plain wall."
        prompts["images"] = [{"image": os.path.relpath(made.image, folder), "prompt": prompt}]
    if made.audio is not None:
        prompt = "Birds sing in a tree while its leaves move."
        prompts["audio"] = [{"audio": os.path.relpath(made.audio, folder), "prompt": prompt}]
    return prompts
