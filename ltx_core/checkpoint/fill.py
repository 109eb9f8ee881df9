"""A module built empty, held against its tensors' names and shapes in a checkpoint, and filled tensor by tensor."""

from collections.abc import Callable
from typing import Any

import torch

from ltx_core.checkpoint.complete import compare_shapes
from ltx_core.checkpoint.model import Checkpoint
from ltx_core.checkpoint.read import read_weights


def filled(build: Callable[[], Any], checkpoint: Checkpoint, component: str, device: str, dtype: torch.dtype) -> Any:
    """Build on the meta device, hold every name and shape against the file, then read straight to `device`; frozen and
    in eval mode.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape than the module's; names them.
    """
    with torch.device("meta"):
        module = build()
    weights = checkpoint.weights(component)
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    compare_shapes(f"the {component} in {checkpoint.path}", weights, expected)
    module.load_state_dict(read_weights(weights, device=device, dtype=dtype), strict=True, assign=True)
    return module.requires_grad_(False).eval()
