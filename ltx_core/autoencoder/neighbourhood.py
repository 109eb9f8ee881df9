"""Attention of every place of a video to its neighbourhood, for LTX-2.5's diffusion decoder.

A place sees as many frames, rows and columns as the kernel has, around it where that is possible and shifted inward at
the borders, as NATTEN's `na3d` does, which Lightricks calls. diffusers has a processor for NATTEN's kernels from the
hub and one for FlexAttention, whose mask of all places by all places does not fit a GPU for a real clip. This one
computes blocks of places with what they see, by PyTorch's own attention, on every device.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

BLOCK = (4, 8, 8)
"""Frames, rows and columns of places that are computed with one set of keys; a kernel of 11 shows them 14, 18, 18."""


class Axis(NamedTuple):
    """The blocks of one axis, all of one size; where they do not divide it, the last one overlaps the one before."""

    places: Tensor
    """[N, P] of each block; on the CPU, as `seen` is, so that slices wait for no GPU."""
    seen: Tensor
    """[N, S]: those that some place of the block sees, in a row."""
    mask: Tensor
    """[N, P, S] on the device: which place sees which."""

    @classmethod
    def of(cls, length: int, kernel: int, block: int, device: torch.device) -> "Axis":
        """Cut an axis. The kernel is not longer than it."""
        block = min(block, length)
        reach = min(block + kernel - 1, length)
        places = torch.arange(0, length, block).clamp(max=length - block)[:, None] + torch.arange(block)
        first = (places - kernel // 2).clamp(0, length - kernel)
        seen = first[:, :1].clamp(max=length - reach) + torch.arange(reach)
        offset = seen[:, None, :] - first[:, :, None]
        return cls(places, seen, ((offset >= 0) & (offset < kernel)).to(device))

    def blocks(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """The places of each block, what they see, and its mask [P, S]."""
        for places, seen, mask in zip(self.places.tolist(), self.seen.tolist(), self.mask, strict=True):
            yield slice(places[0], places[-1] + 1), slice(seen[0], seen[-1] + 1), mask


class NeighbourhoodProcessor:
    """The attention processor of diffusers' LTX2VideoVaeNeighborhoodAttention."""

    def __call__(self, attn: Any, hidden_states: Tensor, block_mask: None = None) -> Tensor:
        """[B, T, H, W, C] in and out."""
        del block_mask  # of FlexAttention; diffusers makes none for other processors
        query, key, value = attn.project_qkv(hidden_states)
        found = attend(query, key, value, attn.kernel_size)
        return attn.to_out[0](found.flatten(-2))


def attend(query: Tensor, key: Tensor, value: Tensor, kernel: tuple[int, int, int]) -> Tensor:
    """The attention of [B, T, H, W, heads, D], with scores that are scaled already."""
    times, rows, columns = (
        Axis.of(length, size, block, query.device)
        for length, size, block in zip(query.shape[1:4], kernel, BLOCK, strict=True)
    )
    own, seen = columns.places.to(query.device), columns.seen.to(query.device)
    result = torch.empty_like(value)
    for frames, shown, time_mask in times.blocks():
        for lines, near, row_mask in rows.blocks():
            part = scaled_dot_product_attention(
                _blocks(query[:, frames, lines], own),
                _blocks(key[:, shown, near], seen),
                _blocks(value[:, shown, near], seen),
                attn_mask=_mask(time_mask, row_mask, columns.mask),
                scale=1.0,
            )
            _put(result[:, frames, lines], part, own)
    return result


def _mask(time: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """[N, 1, P, S] of a row of blocks, of the masks of the axes [p, s], [p, s] and [N, p, s]."""
    whole = time[None, :, None, None, :, None, None] & row[None, None, :, None, None, :, None]
    whole = whole & column[:, None, None, :, None, None, :]
    return whole.flatten(4, 6).flatten(1, 3)[:, None]


def _blocks(values: Tensor, columns: Tensor) -> Tensor:
    """[B, t, h, W, heads, D] as [B, N, heads, P, D], with the columns [N, w] of each block."""
    found = values[:, :, :, columns]  # [B, t, h, N, w, heads, D]
    return found.permute(0, 3, 5, 1, 2, 4, 6).flatten(3, 5)


def _put(target: Tensor, part: Tensor, columns: Tensor) -> None:
    """The inverse of `_blocks`, into [B, t, h, W, heads, D]."""
    frames, rows = target.shape[1:3]
    grid = part.unflatten(3, (frames, rows, columns.shape[1])).permute(0, 3, 4, 1, 5, 2, 6)
    target[:, :, :, columns] = grid
