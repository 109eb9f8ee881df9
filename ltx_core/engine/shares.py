"""Which blocks a policy is for: evenly spread among all of them. No torch."""

from ltx_core.errors import ConfigError


def recomputed_blocks(num_blocks: int, fraction: float) -> frozenset[int]:
    """Which blocks are recomputed in the backward: a share of them, evenly spread."""
    return frozenset(spread(num_blocks, round(num_blocks * fraction)))


def streamed_blocks(num_blocks: int, num_streamed: int) -> list[int]:
    """Which blocks to stream: evenly spread, so that the computing of resident ones hides the copies of the others.

    Raises:
        ConfigError: more blocks than there are.
    """
    if not 0 <= num_streamed <= num_blocks:
        raise ConfigError(f"{num_streamed} streamed blocks; the model has {num_blocks}")
    return spread(num_blocks, num_streamed)


def spread(num_blocks: int, wanted: int) -> list[int]:
    """`wanted` of `num_blocks` indices, evenly spread, the last among them."""
    return [i for i in range(num_blocks) if (i + 1) * wanted // num_blocks > i * wanted // num_blocks]
