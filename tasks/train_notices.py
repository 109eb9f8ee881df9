"""What a training configuration may say but likely does not mean."""

from collections.abc import Sequence

from ltx_core.training.config import TrainSettings
from tasks.shared import Shared

SMALL_GIB = 40.0
"""The guide's smallest card for batches is an A100, which has as much at least."""


def train_notices(config: TrainSettings, shared: Shared) -> Sequence[str]:
    """Batches of several clips on a card that is small, or too small for the weights, as the configuration says."""
    gib, blocks = shared.memory.gpu_gib, config.streamed_blocks
    small = f"the GPU has {gib:g} GiB" if gib is not None and gib < SMALL_GIB else ""
    streamed = f"{blocks} blocks wait on the host" if blocks not in (0, "auto") else ""
    if config.batch_size > 1 and (small or streamed):
        return [
            f"train_lora.batch_size is {config.batch_size} while {small or streamed}; 1 with {config.batch_size} times "
            f"the gradient_accumulation_steps makes the same step in less memory"
        ]
    return []
