"""TREAD (Krause et al. 2025, arXiv 2501.04765): runs of blocks that compute a random part of the video tokens.

Which tokens they compute is a function of seed, sample occurrence and clip, like all that is random.
"""

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

from ltx_core.denoiser.blocks import TokenRoute
from ltx_core.errors import ShapeError
from ltx_core.rng import occurrence_generator
from ltx_core.shapes import LatentShape
from ltx_core.training.batch import TrainBatch
from ltx_core.training.conditions import fewest_learnt
from ltx_core.training.config import TrainSettings
from ltx_core.training.methods.method import Forward, Setup, TrainingMethod
from ltx_core.training.methods.settings import BlockRoute, block_routes
from ltx_core.training.order import SampleOccurrence


class Tread(TrainingMethod):
    """Draws the tokens of each route and has the transformer take it."""

    name = "tread"
    example = ({"selection_ratio": 0.5, "start_layer_idx": 1, "end_layer_idx": -1},)
    steers = True
    changes_blocks = True

    def __init__(self, settings: TrainSettings, num_blocks: int) -> None:
        self.settings, self.routes = settings, block_routes(settings.tread_routes, num_blocks)

    @classmethod
    def of(cls, setup: Setup) -> Self:
        """As the contract says."""
        return cls(setup.settings, len(setup.transformer.transformer_blocks))

    def tensors(
        self, batch: TrainBatch, occurrences: Sequence[SampleOccurrence], loaded: Sequence[Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        """[B, K] for each route: the tokens that it computes. None for audio alone, which has no tokens of video."""
        if not batch.shape.tokens:
            return {}
        kept = tokens_kept(self.routes, occurrences, batch, self.settings)
        return {f"tread.{number:03}": tokens for number, tokens in enumerate(kept)}

    def set_up(self, forward: Forward) -> None:
        """Take the routes."""
        kept = [forward.extras[name] for name in sorted(forward.extras) if name.startswith("tread.")]
        if kept:
            forward.routes += [TokenRoute(r.first, r.last, k) for r, k in zip(self.routes, kept, strict=True)]


def tokens_kept(
    routes: Sequence[BlockRoute], occurrences: Sequence[SampleOccurrence], batch: TrainBatch, settings: TrainSettings
) -> tuple[Tensor, ...]:
    """For each route the tokens that it computes, [B, K], ascending; drawn anew for every occurrence and route.

    Clean tokens, such as a first frame or a prefix, are always kept: all others take their bearings from them.
    Of a video that is clean as a whole, none is more than another.
    """
    clean, own = batch.video.clean, batch.shape.tokens
    clean[:, :own] &= ~clean.all(dim=1, keepdim=True)
    return tuple(
        torch.stack(
            [
                _kept(
                    clean[i],
                    num_skipping(batch.shape, route.ratio, settings),
                    occurrence_generator(
                        settings.seed, occurrence.number, occurrence.sample.clip_id, f"route/{number}"
                    ),
                )
                for i, occurrence in enumerate(occurrences)
            ]
        )
        for number, route in enumerate(routes)
    )


def num_skipping(shape: LatentShape, ratio: float, settings: TrainSettings) -> int:
    """The number of video tokens that skip a route: `ratio` of those that are learnt with the longest conditioning.

    So it is one number for a shape, whatever conditioning this occurrence has and whoever shares its batch: batches may
    be cut otherwise with equal gradients, and a CUDA graph serves them all. One token to be learnt always stays.
    """
    learnt = fewest_learnt(settings, shape)
    return min(round(learnt * ratio), learnt - 1)


def _kept(clean: Tensor, num_skipped: int, generator: torch.Generator) -> Tensor:
    """All tokens, [T], but `num_skipped` random ones that are not clean: [K]."""
    learnt = (~clean).nonzero().flatten()
    if len(learnt) < num_skipped:
        raise ShapeError(f"a route sets {num_skipped} tokens aside and only {len(learnt)} are not clean; give fewer")
    keep = torch.ones_like(clean)
    keep[learnt[torch.randperm(len(learnt), generator=generator)[:num_skipped]]] = False
    return keep.nonzero().flatten()
