"""Square tiles with blended overlaps, for clips whose single frames are too large. Not exact: the error is measured."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ltx_core.autoencoder.memory import VaeMemory
from ltx_core.shapes import SPACE_STRIDE

Span = tuple[int, int]
"""[start, end) in latent rows or columns."""


@dataclass(frozen=True)
class Scales:
    """Pixels a latent row or column, of what goes in and of what comes out: 32 or 1."""

    source: int
    result: int


ENCODING = Scales(SPACE_STRIDE, 1)
DECODING = Scales(1, SPACE_STRIDE)


@dataclass(frozen=True)
class Difference:
    """How far one tensor is from another that is right."""

    most: float
    """Largest absolute difference of a value."""
    relative: float
    """Norm of the difference over the norm of what is right."""

    def __str__(self) -> str:
        return f"at most {self.most:.2e}, {self.relative:.2e} of the norm"


def difference(found: Tensor, right: Tensor) -> Difference:
    """Compare two tensors of one shape, in float32."""
    off = found.float() - right.float()
    return Difference(off.abs().max().item(), (off.norm() / right.float().norm()).item())


def in_tiles(source: Tensor, memory: VaeMemory, scales: Scales, work: Callable[[Tensor], Tensor]) -> Tensor:
    """`work` on each tile of `source` [B, C, F, H, W], blended into one float32 tensor.

    Each tile fades in and out linearly over what it shares with its neighbours; weights sum to one everywhere.
    """
    if memory.tile is None or max(source.shape[3:]) * SPACE_STRIDE // scales.source <= memory.tile:
        return work(source)
    edges = (source.shape[3] // scales.source, source.shape[4] // scales.source)
    rows, columns = (tile_spans(edge, memory.tile // SPACE_STRIDE, memory.overlap // SPACE_STRIDE) for edge in edges)
    row_fades, column_fades = (fades(spans, scales.result, source.device) for spans in (rows, columns))
    result: Tensor | None = None
    for row, row_fade in zip(rows, row_fades, strict=True):
        for column, column_fade in zip(columns, column_fades, strict=True):
            tile = work(source[..., _slice(row, scales.source), _slice(column, scales.source)]).float()
            if result is None:
                result = tile.new_zeros(*tile.shape[:3], *(edge * scales.result for edge in edges))
            weight = row_fade[:, None] * column_fade
            result[..., _slice(row, scales.result), _slice(column, scales.result)] += tile.mul_(weight)
    if result is None:
        raise RuntimeError(f"no tile of {list(source.shape)}; this is a bug")
    return result


def tile_spans(length: int, tile: int, overlap: int) -> list[Span]:
    """The fewest tiles of this size that cover `length` and share `overlap` or more, evenly spread."""
    if length <= tile:
        return [(0, length)]
    num_tiles = math.ceil((length - overlap) / (tile - overlap))
    starts = [round(i * (length - tile) / (num_tiles - 1)) for i in range(num_tiles)]
    return [(start, start + tile) for start in starts]


def fades(spans: Sequence[Span], scale: int, device: torch.device) -> list[Tensor]:
    """For each span its weights, `scale` values a row: linear over what two neighbours share, summing to one."""
    weights = [torch.ones((end - start) * scale, device=device) for start, end in spans]
    for index, ((_, end), (start, _)) in enumerate(pairwise(spans)):
        shared = (end - start) * scale
        ramp = (torch.arange(shared, device=device) + 0.5) / shared
        weights[index][-shared:] *= 1 - ramp
        weights[index + 1][:shared] *= ramp
    total = torch.zeros(spans[-1][1] * scale, device=device)
    for span, weight in zip(spans, weights, strict=True):
        total[_slice(span, scale)] += weight
    return [weight / total[_slice(span, scale)] for span, weight in zip(spans, weights, strict=True)]


def _slice(span: Span, scale: int) -> slice:
    return slice(span[0] * scale, span[1] * scale)
