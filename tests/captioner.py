"""Tiny models that write about what they are shown, with random weights, as transformers has them: Gemma 3, which takes
images, and Qwen2.5-Omni's thinker, which takes videos and audio."""

from pathlib import Path
from typing import Any

from ltx_core.tiny.gemma import write_gemma

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<start_of_image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}"
)


def write_captioner(folder: Path, seed: int = 0) -> Path:
    """Write the folder; the same every time."""
    write_gemma(folder, seed)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


MARKERS = ("image", "video", "audio", "audio_bos", "audio_eos", "vision_bos", "vision_eos")
SPECIAL = ("<|end|>", "<|pad|>", *(f"<|{name}|>" for name in MARKERS))
OMNI_TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% elif part['type'] == 'audio' %}<|audio_bos|><|audio|><|audio_eos|>"
    "{% else %}<|vision_bos|><|{{ part['type'] }}|><|vision_eos|>{% endif %}{% endfor %}{% endfor %}"
)
SIZE = {"shortest_edge": 28 * 28, "longest_edge": 16 * 28 * 28}


def write_omni(folder: Path) -> Path:
    """Write the folder; needs torchvision."""
    import torch
    from transformers import (
        Qwen2_5OmniProcessor,
        Qwen2_5OmniThinkerConfig,
        Qwen2_5OmniThinkerForConditionalGeneration,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
        WhisperFeatureExtractor,
    )

    tokenizer = _byte_tokenizer()
    processor = Qwen2_5OmniProcessor(
        Qwen2VLImageProcessor(size=SIZE),
        Qwen2VLVideoProcessor(size=SIZE),
        WhisperFeatureExtractor(feature_size=16),
        tokenizer,
        chat_template=OMNI_TEMPLATE,
    )
    processor.save_pretrained(folder)
    ids = dict(zip(SPECIAL, tokenizer.convert_tokens_to_ids(list(SPECIAL)), strict=True))
    width, heads = 32, 2
    config = Qwen2_5OmniThinkerConfig(
        audio_config={
            "num_mel_bins": 16,
            "d_model": width,
            "encoder_layers": 1,
            "encoder_attention_heads": heads,
            "encoder_ffn_dim": 2 * width,
            "output_dim": width,
            "n_window": 50,
        },
        vision_config={
            "depth": 1,
            "hidden_size": width,
            "out_hidden_size": width,
            "intermediate_size": 2 * width,
            "num_heads": heads,
            "fullatt_block_indexes": [0],
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": 2,
            "num_attention_heads": 2 * heads,
            "num_key_value_heads": heads,
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4},
            "pad_token_id": ids["<|pad|>"],
            "eos_token_id": ids["<|end|>"],
        },
        audio_token_index=ids["<|audio|>"],
        image_token_index=ids["<|image|>"],
        video_token_index=ids["<|video|>"],
        audio_start_token_id=ids["<|audio_bos|>"],
        audio_end_token_id=ids["<|audio_eos|>"],
        vision_start_token_id=ids["<|vision_bos|>"],
        vision_end_token_id=ids["<|vision_eos|>"],
        pad_token_id=ids["<|pad|>"],
    )
    torch.manual_seed(0)
    Qwen2_5OmniThinkerForConditionalGeneration(config).save_pretrained(folder)
    return folder


def _byte_tokenizer() -> Any:
    """A token for each byte, and those that stand for what is shown."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={letter: n for n, letter in enumerate(letters)}, merges=[]))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    named = {f"{name}_token": f"<|{name}|>" for name in MARKERS}
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|end|>", pad_token="<|pad|>", extra_special_tokens=named
    )
