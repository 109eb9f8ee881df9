"""A toy Gemma 4 with random weights, packed into one file as LTX-2.5's text encoder is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Gemma4UnifiedTextConfig, Gemma4UnifiedTextModel, GemmaTokenizer

from ltx_core.checkpoint.text_encoder import ASSET_PREFIX, TOKENIZER_TENSOR
from ltx_core.miniature.header import GEMMA_VERSION, TEXT_LAYERS, TEXT_WIDTH
from ltx_core.miniature.tokenizer import MAX_TOKENS, train_tokenizer
from ltx_core.miniature.weights import draw, save_tensors, seeded


def write_packed_gemma(path: Path, projection: Mapping[str, Tensor], seed: int) -> Path:
    """Write the text model, its tokenizer and the model's text projection; the same bytes for the same input.

    Raises:
        StorageError: the disk is full or read-only.
    """
    tokenizer = train_tokenizer()
    config = text_config(tokenizer)
    with seeded(seed):
        model = Gemma4UnifiedTextModel(config).eval()
        draw(model)
    weights = {f"model.{name}": tensor.to(torch.bfloat16) for name, tensor in model.state_dict().items()}
    described = {
        "model_type": "gemma4_unified",
        "architectures": ["Gemma4UnifiedForConditionalGeneration"],
        "gemma_version": GEMMA_VERSION,
        "text_config": config.to_dict(),
        "vision_config": None,
        "audio_config": None,
    }
    metadata = {"gemma_config": json.dumps(described, sort_keys=True), "format": "pt"}
    save_tensors(path, {**weights, **projection, **_assets(tokenizer)}, metadata)
    return path


def text_config(tokenizer: GemmaTokenizer) -> Gemma4UnifiedTextConfig:
    """Sliding layers and a full one, whose keys are its values and whose heads are of another width, as in the 12B."""
    return Gemma4UnifiedTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        num_global_key_value_heads=1,
        global_head_dim=16,
        attention_k_eq_v=True,
        sliding_window=16,
        layer_types=["sliding_attention"] * (TEXT_LAYERS - 1) + ["full_attention"],
        max_position_embeddings=2 * MAX_TOKENS,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def _assets(tokenizer: GemmaTokenizer) -> dict[str, Tensor]:
    """The tokenizer's files as tensors of bytes. Unlike Gemma 3's it adds no BOS by itself."""
    core: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    core["post_processor"] = None
    described = {"bos_token": tokenizer.bos_token, "padding_side": "left", "tokenizer_class": "GemmaTokenizer"}
    files = {TOKENIZER_TENSOR: core, f"{ASSET_PREFIX}tokenizer_config.json": described}
    return {
        name: torch.frombuffer(bytearray(json.dumps(content, sort_keys=True).encode()), dtype=torch.uint8)
        for name, content in files.items()
    }
