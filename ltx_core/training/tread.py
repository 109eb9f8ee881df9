"""Routes over blocks, as a user sets them (TREAD): which blocks leave how many of the picture's tokens out.

pydantic only, like the settings they are part of.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ltx_core.errors import ConfigError


class Route(BaseModel):
    """One route, under the names that TREAD's users know. In training alone: sampling runs all tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    selection_ratio: float = Field(
        gt=0, lt=1, description="Share of the picture's tokens that are to be learnt and skip the route's blocks."
    )
    start_layer_idx: int = Field(description="First block of the route; negative ones count from the end, -1 the last.")
    end_layer_idx: int = Field(description="Last block of the route, itself included; negative as above.")

    @model_validator(mode="after")
    def _has_blocks(self) -> Self:
        same_side = (self.start_layer_idx < 0) == (self.end_layer_idx < 0)
        if same_side and self.start_layer_idx > self.end_layer_idx:
            raise ValueError(
                f"the route starts at block {self.start_layer_idx} and ends at {self.end_layer_idx}, so it is empty; "
                f"end_layer_idx must not come before start_layer_idx"
            )
        return self


class BlockRoute(NamedTuple):
    """A route over the blocks of a model."""

    first: int
    last: int
    """Both included, counted from 0."""
    ratio: float
    """Share of the tokens to be learnt that skip them."""


def block_routes(routes: Sequence[Route], num_blocks: int) -> tuple[BlockRoute, ...]:
    """The routes over a model of `num_blocks`, in the order in which its blocks run.

    Raises:
        ConfigError: a route names a block that is not there, has none, or shares one with another route.
    """
    found = sorted(_over(route, num_blocks) for route in routes)
    for earlier, later in pairwise(found):
        if later.first <= earlier.last:
            raise ConfigError(
                f"tread_routes over blocks {earlier.first} to {earlier.last} and {later.first} to {later.last} "
                f"overlap; end one before the other starts"
            )
    return tuple(found)


def _over(route: Route, num_blocks: int) -> BlockRoute:
    ends = [route.start_layer_idx, route.end_layer_idx]
    first, last = (index + num_blocks if index < 0 else index for index in ends)
    if not (0 <= first < num_blocks and 0 <= last < num_blocks):
        raise ConfigError(
            f"a route of tread_routes goes from block {ends[0]} to {ends[1]}; the model has blocks 0 to "
            f"{num_blocks - 1}, or -{num_blocks} to -1"
        )
    if first > last:
        raise ConfigError(
            f"a route of tread_routes goes from block {ends[0]} to {ends[1]}, which are {first} and {last} of this "
            f"model's {num_blocks}: it is empty; end it at or after its start"
        )
    return BlockRoute(first, last, route.selection_ratio)
