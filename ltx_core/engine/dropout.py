"""Dropout before a LoRA (as peft's and the LoRA paper's, on its input), with masks that are a function of their names.

A mask's bits come from counting: the place of a value in its sample, the sample's key and the layer's name are mixed,
in whole numbers, to a number that is held against the share. So a mask is the same on every device, however a batch is
made up, when a block is recomputed, and when a captured graph is replayed with another key in its input.
"""

from typing import Any

import torch

from ltx_core.io.digest import text_digest

BITS = 0xFFFFFFFF
"""Arithmetic is modulo 2^32, in 64 bits so that a product has room."""
STRIDE = 0x9E3779B1
"""2^32 over the golden ratio: neighbouring places land far apart (Knuth, The Art of Computer Programming, 6.4)."""


def dropout_key(*name: str | int) -> int:
    """32 bits for what a mask is for."""
    return int(text_digest(*(str(part) for part in name))[:8], 16)


class KeyedDropout(torch.nn.Module):
    """Sets a fraction of its input to zero and scales the rest up, where gradients are wanted; else it does nothing."""

    key: torch.Tensor | None = None
    """[B] int64, of the samples in the batch; None: nothing is dropped."""

    def __init__(self, share: float, layer: str) -> None:
        super().__init__()
        self.share = share
        self.salt = dropout_key("dropout", layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, ...] or [B * n, ...] with a sample's rows together, to the same."""
        if self.key is None or not torch.is_grad_enabled():
            return x
        kept = self._kept(self.key, x).to(x.dtype) / (1 - self.share)
        return x * kept

    def _kept(self, key: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        places = torch.arange(x.numel() // len(key), device=x.device)
        number = (places * STRIDE + (key ^ self.salt)[:, None]) & BITS
        return (_mixed(number) >= round(self.share * (BITS + 1))).view(x.shape)


def set_dropout_key(transformer: Any, key: torch.Tensor | None) -> None:
    """Name the samples of the next forward, and of the backward that belongs to it."""
    for module in transformer.modules():
        if isinstance(module, KeyedDropout):
            module.key = key


def _mixed(number: torch.Tensor) -> torch.Tensor:
    """Every bit of the result depends on every bit (the finish of MurmurHash3, which is in the public domain)."""
    number = ((number ^ (number >> 16)) * 0x85EBCA6B) & BITS
    number = ((number ^ (number >> 13)) * 0xC2B2AE35) & BITS
    return number ^ (number >> 16)
