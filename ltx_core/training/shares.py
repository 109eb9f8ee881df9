"""How the batches of a step are shared out. Needs no torch: the number of ranks is chosen before any is started.

`gradient_accumulation_steps` counts the batches of an optimizer step, whoever computes them: with 2 GPUs each takes
half of them. So the clips of a step, their order and the learning rates depend on the settings and never on the
machine, and a run begun on one GPU goes on with eight.
"""

from typing import TYPE_CHECKING

from ltx_core.errors import ConfigError
from ltx_core.training.config import TrainSettings

if TYPE_CHECKING:
    from ltx_core.distributed.ranks import Ranks


def most_ranks(settings: TrainSettings, available: int) -> int:
    """The most ranks, of `available`, that share a step's batches evenly."""
    batches = settings.gradient_accumulation_steps
    return max(size for size in range(1, max(available, 1) + 1) if batches % size == 0)


def check_shares(settings: TrainSettings, ranks: "Ranks") -> None:
    """See that every rank gets as many batches of a step.

    Raises:
        ConfigError: it does not.
    """
    batches = settings.gradient_accumulation_steps
    if batches % ranks.size:
        raise ConfigError(
            f"a step of {batches} batches (gradient_accumulation_steps) cannot be shared evenly by {ranks.size} GPUs; "
            f"set gradient_accumulation_steps to a multiple of {ranks.size}, or memory.num_gpus to a divisor of "
            f"{batches}"
        )
