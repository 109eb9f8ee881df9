"""What a training configuration may say but likely does not mean."""

from collections.abc import Sequence

from ltx_core.training.config import TrainSettings
from tasks.shared import Shared

SMALL_GIB = 40.0
"""The guide's smallest card for batches is an A100, which has as much at least."""


def train_notices(config: TrainSettings, shared: Shared) -> Sequence[str]:
    """What costs memory or time and may not be meant, as the configuration says."""
    return [*_batch_notices(config, shared), *_rollout_notices(config)]


def _batch_notices(config: TrainSettings, shared: Shared) -> Sequence[str]:
    """Batches of several clips on a card that is small, or too small for the weights."""
    gib, blocks = shared.memory.gpu_gib, config.streamed_blocks
    small = f"the GPU has {gib:g} GiB" if gib is not None and gib < SMALL_GIB else ""
    streamed = f"{blocks} blocks wait on the host" if blocks not in (0, "auto") else ""
    if config.batch_size > 1 and (small or streamed):
        return [
            f"train_lora.batch_size is {config.batch_size} while {small or streamed}; 1 with {config.batch_size} times "
            f"the gradient_accumulation_steps makes the same step in less memory"
        ]
    return []


def _rollout_notices(config: TrainSettings) -> Sequence[str]:
    """What rollouts cost. A step without them is a forward and, weights being frozen, a backward of about as much, and
    another forward where blocks are computed again."""
    rollout = config.rollout
    if rollout is None:
        return []
    share = max(rollout.probability, rollout.start_probability)
    more = share * rollout.num_forwards
    calls = f"{rollout.num_forwards} forward{'s' if rollout.num_forwards > 1 else ''} without gradients"
    return [
        f"train_lora.rollout adds {calls} to {share:.0%} of the visits: expect steps of {1 + more / 3:.2f} (all blocks "
        f"recomputed) to {1 + more / 2:.2f} times the time (none), and more where kernels are small, because those run "
        f"uncompiled"
    ]
