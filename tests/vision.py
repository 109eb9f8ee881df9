"""A tiny DINOv2 with random weights, in the layout that transformers writes."""

import contextlib
import io
from pathlib import Path
from typing import Any

import torch
from transformers import Dinov2Config, Dinov2Model

WIDTH, IMAGE_SIZE = 24, 28
"""Pictures of 2x2 patches."""


def write_dinov2(folder: Path, model: type[Any] = Dinov2Model, **changes: Any) -> Path:
    """Write `config.json` and `model.safetensors`; the same every time."""
    arguments = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": IMAGE_SIZE}
    with torch.random.fork_rng(devices=[]), contextlib.redirect_stderr(io.StringIO()):
        torch.manual_seed(0)
        made = model(Dinov2Config(**{**arguments, "use_swiglu_ffn": True, **changes}))
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        made.save_pretrained(folder)
    return folder
