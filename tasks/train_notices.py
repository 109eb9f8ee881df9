"""What a training configuration may say but likely does not mean."""

from collections.abc import Sequence

from ltx_core.training.config import TrainSettings
from tasks.shared import Shared


def train_notices(config: TrainSettings, _shared: Shared) -> Sequence[str]:
    """Batches of several clips on a card that is too small for the weights."""
    if config.batch_size > 1 and config.streamed_blocks:
        return [
            f"train_lora.batch_size is {config.batch_size} while {config.streamed_blocks} blocks wait on the host, as "
            f"on a small card; 1 with {config.batch_size} times the gradient_accumulation_steps makes the same step in "
            f"less memory"
        ]
    return []
