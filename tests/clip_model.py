"""A CLIP model of transformers at toy width: real classes and files, random weights."""

from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
NUM_POSITIONS = 20


def write_clip(folder: Path, seed: int = 0) -> Path:
    """Write the folder: 16 pixels, prompts of at most 20 tokens, a letter each."""
    words = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), ".</w>", "<|startoftext|>", "<|endoftext|>"]
    start, end = len(words) - 2, len(words) - 1
    CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[]).save_pretrained(folder)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": len(words), "max_position_embeddings": NUM_POSITIONS}
    text |= {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
    picture = {"image_size": 16, "patch_size": 8}
    torch.manual_seed(seed)
    config = CLIPConfig(text_config=size | text, vision_config=size | picture, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    crop = {"height": 16, "width": 16}
    CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=crop).save_pretrained(folder)
    return folder
