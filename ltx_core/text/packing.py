"""Captions packed without padding, so that they are computed at once. No torch.

Every pack has the same number of tokens whatever it holds: the last captions are followed by filler, which nothing
attends to. Matrix products of one shape run the same kernel, whose sums do not depend on the row, so a caption's
features are the same bits in any pack. (Batches of other sizes give other last bits in bfloat16.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ltx_core.errors import ConfigError

PACK_TOKENS = 4096
"""About twenty captions of 200 tokens: enough rows to keep a GPU's matrix units busy."""


@dataclass(frozen=True)
class Pack:
    """Captions that are computed at once."""

    captions: tuple[int, ...]
    """The chosen ones by their place among all; shortest first."""
    lengths: tuple[int, ...]
    """Their tokens."""
    num_tokens: int
    """Of the pack; what captions leave is filler."""

    @property
    def runs(self) -> list[tuple[int, int]]:
        """(how many, how long): captions of equal length that follow one another, one batch for the attention."""
        return [(len(list(same)), length) for length, same in groupby(self.lengths)]


def pack_captions(lengths: Sequence[int], num_tokens: int = PACK_TOKENS) -> list[Pack]:
    """Captions by length, then by place, cut into packs wherever the next one would not fit.

    Raises:
        ConfigError: a caption is longer than a pack.
    """
    if lengths and max(lengths) > num_tokens:
        raise ConfigError(f"a caption of {max(lengths)} tokens does not fit a pack of {num_tokens}; make packs larger")
    packs: list[list[int]] = []
    left = 0
    for place in sorted(range(len(lengths)), key=lambda place: (lengths[place], place)):
        if lengths[place] > left or not packs:
            packs.append([])
            left = num_tokens
        packs[-1].append(place)
        left -= lengths[place]
    return [Pack(tuple(places), tuple(lengths[place] for place in places), num_tokens) for places in packs]
