"""diffusers' header of LoRA files, which says the alpha that the tensors do not."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltx_core.errors import CheckpointError
from ltx_core.files.json_file import parse_object

HEADER = "lora_adapter_metadata"
PREFIX = "transformer."
REFUSED = ("use_dora", "use_qalora")
"""peft options under which the tensors are no plain LoRA."""


@dataclass(frozen=True)
class AdapterHeader:
    """peft's settings of an adapter, as far as they decide what its tensors do."""

    alpha: float
    alphas: dict[str, float]
    """Of modules that differ, by module or its ending."""
    rank_stabilised: bool
    """alpha / sqrt(rank) instead of alpha / rank."""

    def scale(self, module: str, rank: int) -> float:
        named = (alpha for name, alpha in self.alphas.items() if _ends(module, name))
        return next(named, self.alpha) / (math.sqrt(rank) if self.rank_stabilised else rank)


def adapter_header(path: Path, metadata: Mapping[str, str], modules: Sequence[str]) -> AdapterHeader | None:
    """The header of a file for `modules`; None for a file without.

    Raises:
        CheckpointError: it is not what peft writes, names a module that is not in the file, or is no plain LoRA's.
    """
    if HEADER not in metadata:
        return None
    values = _values(path, metadata[HEADER])
    if refused := [name for name in REFUSED if values.get(name)]:
        raise CheckpointError(f"{path} has {refused} set in its {HEADER} header; a plain LoRA is wanted")
    alphas = values.get("alpha_pattern") or {}
    if unknown := [name for name in alphas if not any(_ends(module, name) for module in modules)]:
        raise CheckpointError(f"{path} names alphas in its {HEADER} header for {unknown[:3]}, which the file lacks")
    try:
        return AdapterHeader(
            alpha=float(values["lora_alpha"]),
            alphas={name: float(alpha) for name, alpha in alphas.items()},
            rank_stabilised=bool(values.get("use_rslora")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} has no lora_alpha in its {HEADER} header ({error}); remove the header"
        ) from error


def _values(path: Path, text: str) -> dict[str, Any]:
    """Settings of the transformer's adapter, by peft's names."""
    try:
        values = parse_object(text)
    except ValueError as error:
        raise CheckpointError(
            f"{path} has a {HEADER} header that is no JSON object ({error}); remove the header"
        ) from error
    own = {name.removeprefix(PREFIX): value for name, value in values.items() if name.startswith(PREFIX)}
    return own or values


def _ends(module: str, name: str) -> bool:
    return f".{module}".endswith(f".{name}")
