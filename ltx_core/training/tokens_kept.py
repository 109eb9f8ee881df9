"""Which video tokens the blocks of a route compute: a function of seed, visit and clip, like all that is random."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ltx_core.errors import ShapeError
from ltx_core.flow_matching.random import visit_generator
from ltx_core.shapes import LatentShape
from ltx_core.training.batch import TrainBatch
from ltx_core.training.config import TrainSettings
from ltx_core.training.draws import most_given_frames
from ltx_core.training.order import Visit
from ltx_core.training.tread import BlockRoute


def tokens_kept(
    routes: Sequence[BlockRoute], visits: Sequence[Visit], batch: TrainBatch, settings: TrainSettings
) -> tuple[Tensor, ...]:
    """For each route the tokens that it computes, [B, K], ascending; drawn anew at every visit and route.

    Tokens that are given, a first frame or a prefix, are always kept: all others take their bearings from them.
    """
    given = batch.video.given
    return tuple(
        torch.stack(
            [
                _kept(
                    given[i],
                    num_set_aside(batch.shape, route.ratio, settings),
                    visit_generator(settings.seed, visit.number, visit.sample.clip_id, f"route/{number}"),
                )
                for i, visit in enumerate(visits)
            ]
        )
        for number, route in enumerate(routes)
    )


def num_set_aside(shape: LatentShape, ratio: float, settings: TrainSettings) -> int:
    """How many video tokens skip a route: `ratio` of those that are learnt where the settings give as many as they may.

    So it is one number for a shape, whatever this visit is given and whoever shares its batch: batches may be cut
    otherwise with equal gradients, and a CUDA graph serves them all. One token to be learnt always stays.
    """
    given = min(most_given_frames(settings), shape.frames - 1)
    learnt = (shape.frames - given) * shape.height * shape.width
    return min(round(learnt * ratio), learnt - 1)


def _kept(given: Tensor, num_aside: int, generator: torch.Generator) -> Tensor:
    """All tokens, [T], but `num_aside` random ones that are not given: [K]."""
    learnt = (~given).nonzero().flatten()
    if len(learnt) < num_aside:
        raise ShapeError(f"a route sets {num_aside} tokens aside and only {len(learnt)} are not given; give fewer")
    keep = torch.ones_like(given)
    keep[learnt[torch.randperm(len(learnt), generator=generator)[:num_aside]]] = False
    return keep.nonzero().flatten()
