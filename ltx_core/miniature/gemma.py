"""A toy Gemma 3 with random weights, in the folder layout that transformers loads: the miniature's text encoder."""

import json
from pathlib import Path

import torch
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GemmaTokenizer,
    SiglipVisionConfig,
)

from ltx_core.files.atomic import atomic_path, write_bytes
from ltx_core.miniature.header import TEXT_LAYERS, TEXT_WIDTH
from ltx_core.miniature.tokenizer import IMAGE_TOKENS, train_tokenizer
from ltx_core.miniature.weights import seeded, store

IMAGE_EDGE = 32
IMAGE_PATCH = 8
IMAGE_NUM_TOKENS = 4
"""Tokens an image would take; of no use here, but Gemma 3 is built with eyes."""

PREPROCESSOR = {
    "image_processor_type": "Gemma3ImageProcessor",
    "do_resize": True,
    "size": {"height": IMAGE_EDGE, "width": IMAGE_EDGE},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
PROCESSOR = {"processor_class": "Gemma3Processor", "image_seq_length": IMAGE_NUM_TOKENS}


def write_gemma(folder: Path, seed: int) -> Path:
    """Write weights, configuration, tokenizer and processor files to `folder`; the same bytes for the same seed.

    Raises:
        StorageError: the disk is full or read-only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    tokenizer.save_pretrained(folder)
    for name, content in (("preprocessor_config.json", PREPROCESSOR), ("processor_config.json", PROCESSOR)):
        write_bytes(folder / name, json.dumps(content, indent=1).encode() + b"\n")
    model = build_gemma(tokenizer, seed)
    model.config.save_pretrained(folder)
    ...
    return folder


def build_gemma(tokenizer: GemmaTokenizer, seed: int) -> Gemma3ForConditionalGeneration:
    """The model, bf16 as released; its hidden states are `TEXT_WIDTH` wide and `TEXT_LAYERS` + 1 many."""
