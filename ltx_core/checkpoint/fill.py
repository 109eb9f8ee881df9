"""A module built empty, held against its tensors' names and shapes in a checkpoint, and filled tensor by tensor."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ltx_core.checkpoint.model import Checkpoint
from ltx_core.checkpoint.quantised.reader import Weight
from ltx_core.checkpoint.read import read_weights
from ltx_core.errors import CheckpointError

NAMED = 5
"""How many tensor names a message lists."""


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


def compare_shapes(what: str, weights: Mapping[str, Weight], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Hold what is stored against what a module needs.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape; names the first of each.
    """
    problems = []
    if missing := sorted(expected.keys() - weights.keys()):
        problems.append(f"lacks {_some(missing)}")
    if unknown := sorted(weights.keys() - expected.keys()):
        problems.append(f"has unknown {_some(unknown)}")
    both = {name: (weights[name].shape, expected[name]) for name in sorted(expected.keys() & weights.keys())}
    if wrong := [
        f"{name} {list(found)} for {list(needed)}" for name, (found, needed) in both.items() if found != needed
    ]:
        problems.append(f"has shapes other than its config says: {_some(wrong)}")
    if problems:
        raise CheckpointError(
            f"{what} {'; '.join(problems)} (names in the module). Give the files as they were published, or "
            "download them again."
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
