"""A toy Gemma 3 with random weights, in the folder layout that transformers loads: the miniature's text encoder."""

import json
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GemmaTokenizer,
    SiglipVisionConfig,
)

from ltx_core.files.atomic import write_bytes
from ltx_core.miniature.header import TEXT_LAYERS, TEXT_WIDTH
from ltx_core.miniature.tokenizer import IMAGE_TOKENS, MAX_TOKENS, train_tokenizer
from ltx_core.miniature.weights import draw, save_tensors, seeded

IMAGE_EDGE = 32
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

PUBLISHED_NAMES = (
    ("model.language_model.", "language_model.model."),
    ("model.vision_tower.", "vision_tower.vision_model."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
)
"""Prefixes in the module, and in the files that Google published."""


def write_gemma(folder: Path, seed: int) -> Path:
    """Write weights, configuration, tokenizer and processor files to `folder`; the same bytes for the same seed.

    Raises:
        StorageError: the disk is full or read-only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    tokenizer.save_pretrained(folder)
    model = build_gemma(tokenizer, seed)
    for name, content in (
        ("config.json", {"architectures": [type(model).__name__], "dtype": "bfloat16", **model.config.to_diff_dict()}),
        ("preprocessor_config.json", PREPROCESSOR),
        ("processor_config.json", PROCESSOR),
    ):
        write_bytes(folder / name, json.dumps(content, indent=1, sort_keys=True).encode() + b"\n")
    save_tensors(folder / "model.safetensors", published_tensors(model), {"format": "pt"})
    return folder


def build_gemma(tokenizer: GemmaTokenizer, seed: int) -> Gemma3ForConditionalGeneration:
    """The model; its hidden states are `TEXT_WIDTH` wide and `TEXT_LAYERS` + 1 many."""
    text = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        query_pre_attn_scalar=8,
        sliding_window=16,
        layer_types=["sliding_attention"] * (TEXT_LAYERS - 1) + ["full_attention"],
        max_position_embeddings=2 * MAX_TOKENS,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    vision = SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=IMAGE_EDGE,
        patch_size=8,
        vision_use_head=False,
    )
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in IMAGE_TOKENS.items()}
    config = Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=IMAGE_NUM_TOKENS,
        boi_token_index=ids["boi_token"],
        eoi_token_index=ids["eoi_token"],
        image_token_index=ids["image_token"],
    )
    with seeded(seed):
        model = Gemma3ForConditionalGeneration(config).eval()
        draw(model.model)  # without the output layer, which shares the embedding's weights
    return model


def published_tensors(model: Gemma3ForConditionalGeneration) -> dict[str, Tensor]:
    """The weights in bfloat16 under the published names, the tied output layer left out."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        for prefix, published in PUBLISHED_NAMES:
            if name.startswith(prefix):
                tensors[published + name.removeprefix(prefix)] = tensor.to(torch.bfloat16)
    return tensors
