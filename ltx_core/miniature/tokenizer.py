"""A small tokenizer of Gemma's kind, trained on the spot from the corpus' own captions."""

import json
import re

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import GemmaTokenizer

from ltx_core.miniature.corpus import DECLARED

SPECIAL_TOKENS = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
IMAGE_TOKENS = {
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
}
"""Gemma 3 takes images too and wants these, though no prompt of ours has one."""
BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""What characters outside the vocabulary are spelled with, so that every caption has tokens."""
VOCABULARY = 800
"""At most; a small corpus may yield fewer."""
MAX_TOKENS = 1024
"""Longest prompt that LTX-2 takes."""


def train_tokenizer() -> GemmaTokenizer:
    """Byte-pair tokens of the captions, wrapped as transformers wraps Gemma's: BOS first, padding on the left."""
    core = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    core.normalizer = normalizers.Replace(" ", "\u2581")
    core.pre_tokenizer = pre_tokenizers.Split(pattern=" ", behavior="merged_with_previous")
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[*SPECIAL_TOKENS, *IMAGE_TOKENS.values(), *BYTE_TOKENS],
        show_progress=False,
    )
    words = [word for footage in DECLARED for word in re.findall(" ?[^ ]+", footage.caption)]
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
