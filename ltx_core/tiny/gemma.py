"""Toy text encoders with random weights, Gemma 3 as a folder and Gemma 4 as one file, and their tokenizer."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    Gemma4UnifiedTextConfig,
    Gemma4UnifiedTextModel,
    GemmaTokenizer,
    SiglipVisionConfig,
)

from ltx_core.checkpoint.text_encoder import ASSET_PREFIX, TOKENIZER_TENSOR
from ltx_core.io.atomic import write_bytes
from ltx_core.io.tensors import write_tensors
from ltx_core.tiny.corpus import DECLARED
from ltx_core.tiny.header import GEMMA_VERSION, TEXT_LAYERS, TEXT_WIDTH
from ltx_core.tiny.weights import draw, seeded

SPECIAL_TOKENS = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
IMAGE_TOKENS = {
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
}
"""Gemma 3 takes images too and wants these, though no prompt of ours has one."""
BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""Tokens that spell characters outside the vocabulary, so that every caption has tokens."""
VOCABULARY = 800
"""At most; a small corpus may yield fewer."""
MAX_TOKENS = 1024
"""Longest prompt that LTX-2 takes."""


def train_tokenizer(captions: Sequence[str] = (), vocabulary: int = VOCABULARY) -> GemmaTokenizer:
    """Byte-pair tokens of these captions and of the corpus', wrapped as transformers wraps Gemma's: BOS first, padding
    on the left."""
    core = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    core.normalizer = normalizers.Replace(" ", "\u2581")
    core.pre_tokenizer = pre_tokenizers.Split(pattern=" ", behavior="merged_with_previous")
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[*SPECIAL_TOKENS, *IMAGE_TOKENS.values(), *BYTE_TOKENS],
        show_progress=False,
    )
    texts = [*captions, *(footage.caption for footage in DECLARED)]
    words = [word for text in texts for word in re.findall(" ?[^ ]+", text)]
    core.train_from_iterator(words, trainer)  # word by word: no token spans two, as in Gemma's own
    learned = json.loads(core.to_str())["model"]
    return GemmaTokenizer(
        vocab=learned["vocab"],
        merges=[tuple(pair) for pair in learned["merges"]],
        add_bos_token=True,
        padding_side="left",
        model_max_length=MAX_TOKENS,
        extra_special_tokens=IMAGE_TOKENS,
    )


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


def write_gemma(folder: Path, seed: int, tokenizer: GemmaTokenizer | None = None) -> Path:
    """Write weights, configuration, tokenizer and processor files to `folder`; the same bytes for the same seed.

    Without a tokenizer, one is trained on the corpus' captions.

    Raises:
        StorageError: the disk is full or read-only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer or train_tokenizer()
    tokenizer.save_pretrained(folder)
    model = build_gemma(tokenizer, seed)
    for name, content in (
        ("config.json", {"architectures": [type(model).__name__], "dtype": "bfloat16", **model.config.to_diff_dict()}),
        ("preprocessor_config.json", PREPROCESSOR),
        ("processor_config.json", PROCESSOR),
    ):
        write_bytes(folder / name, json.dumps(content, indent=1, sort_keys=True).encode() + b"\n")
    write_tensors(folder / "model.safetensors", published_tensors(model), {"format": "pt"})
    return folder


def build_gemma(tokenizer: GemmaTokenizer, seed: int) -> Gemma3ForConditionalGeneration:
    """The model; its hidden states are `TEXT_WIDTH` wide and `TEXT_LAYERS` + 1 many."""
    text = Gemma3TextConfig(**_sizes(tokenizer), query_pre_attn_scalar=8)
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


def _sizes(tokenizer: GemmaTokenizer) -> dict[str, Any]:
    """Arguments of both text models: sliding layers, and a full one at the end."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 2 * TEXT_WIDTH,
        "num_hidden_layers": TEXT_LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "sliding_window": 16,
        "layer_types": ["sliding_attention"] * (TEXT_LAYERS - 1) + ["full_attention"],
        "max_position_embeddings": 2 * MAX_TOKENS,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def published_tensors(model: Gemma3ForConditionalGeneration) -> dict[str, Tensor]:
    """The weights in bfloat16 under the published names, the tied output layer left out."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        for prefix, published in PUBLISHED_NAMES:
            if name.startswith(prefix):
                tensors[published + name.removeprefix(prefix)] = tensor.to(torch.bfloat16)
    return tensors


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
    write_tensors(path, {**weights, **projection, **_assets(tokenizer)}, metadata)
    return path


def text_config(tokenizer: GemmaTokenizer) -> Gemma4UnifiedTextConfig:
    """Sliding layers and a full one, whose keys are its values and whose heads are of another width, as in the 12B."""
    return Gemma4UnifiedTextConfig(
        **_sizes(tokenizer), num_global_key_value_heads=1, global_head_dim=16, attention_k_eq_v=True
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
