"""Gemma 3 as LTX-2 uses it: every layer's hidden states of one caption, no image tower, no next-token logits."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, Gemma3ForConditionalGeneration
from transformers.utils import logging

from ltx_core.checkpoint.text_encoder import text_encoder_config, text_encoder_files
from ltx_core.errors import CheckpointError

MAX_TOKENS = 1024
"""Tokens of a caption, the first included; the rest is cut off, as Lightricks' inference does."""


@dataclass(frozen=True)
class TextEncoder:
    """A tokenizer and the text part of Gemma."""

    tokenizer: Any
    model: Any

    def token_ids(self, text: str) -> list[int]:
        """Ids of the stripped text, BOS first, at most `MAX_TOKENS`; nothing is padded."""
        bos = self.tokenizer.bos_token_id
        ids: list[int] = self.tokenizer(text.strip(), add_special_tokens=True)["input_ids"]
        return (ids if ids[:1] == [bos] else [bos, *ids])[:MAX_TOKENS]

    @torch.no_grad()
    def hidden_states(self, text: str) -> torch.Tensor:
        """[S, D, L+1]: the embedding's output and that of each layer, for the valid tokens of one caption.

        One caption at a time, so that the result depends on nothing else. Positions are those that Lightricks'
        inference gives the caption by padding it on the left to `MAX_TOKENS`: in bfloat16 they show in the result.
        """
        ids = self.token_ids(text)
        device = self.model.get_input_embeddings().weight.device
        positions = torch.arange(MAX_TOKENS - len(ids), MAX_TOKENS, device=device)
        output = self.model(
            input_ids=torch.tensor([ids], device=device),
            position_ids=positions[None],
            output_hidden_states=True,
            use_cache=False,
        )
        return torch.stack(output.hidden_states, dim=-1)[0]


def load_gemma(folder: Path, *, device: str, dtype: torch.dtype) -> TextEncoder:
    """Load the folder's tokenizer and model, frozen, and drop what LTX-2 does not use.

    Raises:
        CheckpointError: files or tensors are missing, or the model is no Gemma 3.
    """
    text_encoder_files(folder)
    text_encoder_config(folder)
    with _no_progress_bar():
        model, report = Gemma3ForConditionalGeneration.from_pretrained(
            folder,
            dtype=dtype,
            device_map={"": device},
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    if wrong := sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]])):
        raise CheckpointError(f"the weights in {folder} lack or mis-shape {', '.join(wrong[:5])}; download them again")
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return TextEncoder(tokenizer, model.model.language_model.requires_grad_(False).eval())


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """transformers draws one of its own, across whatever the caller shows."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
