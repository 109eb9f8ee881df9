"""What a compiled block keeps for its backward, and what it computes again there.

PyTorch's partitioner takes a budget: the share of what it would keep by itself. It does not know that cuDNN's attention
is dear (torch 2.11 and 2.13: its list of intensive operations names two other kernels), so below a budget of 1 it would
compute every attention again. Here attentions are marked to be kept, whatever the budget.
"""

from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

aten = torch.ops.aten
ATTENTIONS = frozenset(
    {
        aten._scaled_dot_product_cudnn_attention.default,
        aten._scaled_dot_product_flash_attention.default,
        aten._scaled_dot_product_efficient_attention.default,
        aten._scaled_dot_product_flash_attention_for_cpu.default,
    }
)
"""What `scaled_dot_product_attention` becomes, by device and shape."""


def keeping_attention(
    block: Any, video: torch.Tensor, audio: torch.Tensor, arguments: dict[str, Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The block's two streams, results of its attentions kept for the backward. To be compiled."""
    made: tuple[torch.Tensor, torch.Tensor] = checkpoint(
        block.forward, video, audio, use_reentrant=False, context_fn=_contexts, **arguments
    )
    return made


def _kept(ctx: Any, operation: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    """Attentions always; of the rest the partitioner chooses, by the budget."""
    return CheckpointPolicy.MUST_SAVE if operation in ATTENTIONS else CheckpointPolicy.PREFER_SAVE


_contexts = partial(create_selective_checkpoint_contexts, _kept)
_contexts.cache_hash = f"keeps {sorted(map(str, ATTENTIONS))}"  # type: ignore[attr-defined]
"""In the key of a compiled function that PyTorch keeps; without it none with a budget below 1 is kept."""
