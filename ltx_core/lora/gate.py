"""The last look before a LoRA leaves: what lies on disk must do what was trained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ltx_core.errors import CheckpointError
from ltx_core.files.tensors import read_tensors
from ltx_core.lora.trained import PlainLora, TrainedAdapter

EFFECT_TOLERANCE = 0.05
"""Of the LoRA's effect. Rounding weights to bf16 moves them by 2^-9, the effect by well under a percent."""
OUTPUT_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}
"""Of the output: how much two equal forwards may differ in the base model's own arithmetic."""


def check_export(
    path: Path, transformer: Any, probe: Callable[[], torch.Tensor], adapter: TrainedAdapter | None = None
) -> None:
    """Prove that the file at `path` is the trained adapter: finite, non-zero, equal tensors, equal output.

    `probe` runs a fixed forward of `transformer`, which has a plain LoRA unless another `adapter` is named. The file is
    loaded as a second adapter and removed again.

    Raises:
        CheckpointError: the file does not do what the trained adapter does; says by how much.
    """
    adapter = adapter or PlainLora(transformer)
    stored, _ = read_tensors(path)
    adapter.check(stored)
    trained = adapter.exported()
    if differing := [n for n in sorted(stored.keys() | trained.keys()) if not _same(stored.get(n), trained.get(n))]:
        raise CheckpointError(f"{path} differs from the trained adapter in {differing[:3]}; write it again")
    with torch.no_grad():
        _check_output(path, adapter, probe)


def _check_output(path: Path, adapter: TrainedAdapter, probe: Callable[[], torch.Tensor]) -> None:
    wanted = probe().float()
    with adapter.switched_off():
        base = probe().float()
    with adapter.replaced_by(path):
        found = probe().float()
    effect, error = (wanted - base).norm().item(), (found - wanted).norm().item()
    limit = (
        EFFECT_TOLERANCE * effect + OUTPUT_TOLERANCE[adapter.transformer.proj_in.weight.dtype] * wanted.norm().item()
    )
    if not error <= limit:
        raise CheckpointError(
            f"{path} reloads to another output: off by {error:.3g} where the LoRA's effect is {effect:.3g}; at most "
            f"{limit:.3g} is rounding. Do not use the file; report this."
        )


def _same(left: torch.Tensor | None, right: torch.Tensor | None) -> bool:
    return left is not None and right is not None and torch.equal(left, right)
