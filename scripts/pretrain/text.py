"""Captions as hidden states of the toy Gemma, whose weights are random and stay so."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer

from ltx_core.tiny.gemma import build_gemma, train_tokenizer, write_gemma
from ltx_core.tiny.world import AUDIO, SHAPES, all_specs, caption

VOCABULARY = 1000
SEED = 7


class Text:
    """The encoder on a device.

    Args:
        folder: Where it lies, and is written if it does not.
        device: Where it computes.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        if not (folder / "config.json").exists():
            texts = [caption(spec, i % 3) for i, spec in enumerate(all_specs(list(SHAPES), list(AUDIO)))]
            write_gemma(folder, SEED, train_tokenizer(texts, VOCABULARY))
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.model: Any = build_gemma(self.tokenizer, SEED).model.language_model.to(device).eval().requires_grad_(False)
        self.device = device

    @torch.no_grad()
    def embed(self, captions: list[str], batch: int = 1024) -> tuple[Tensor, Tensor]:
        """Normalised states of all layers [K, S, D * layers], zero after a caption's end, and the lengths [K]."""
        bos = self.tokenizer.bos_token_id
        ids = [self.tokenizer(text.strip(), add_special_tokens=True)["input_ids"] for text in captions]
        ids = [one if one[:1] == [bos] else [bos, *one] for one in ids]
        longest = max(map(len, ids))
        lengths = torch.tensor([len(one) for one in ids], device=self.device)
        table = torch.tensor([one + [0] * (longest - len(one)) for one in ids], device=self.device)
        made = []
        for part in table.split(batch):  # causal, so what follows a caption does not change it
            found = self.model(input_ids=part, output_hidden_states=True, use_cache=False)
            states = torch.stack([state.float() for state in found.hidden_states], dim=-1)
            made.append((states * torch.rsqrt(states.square().mean(dim=2, keepdim=True) + 1e-6)).flatten(2))
        valid = torch.arange(longest, device=self.device) < lengths[:, None]
        return torch.cat(made) * valid[..., None], lengths
