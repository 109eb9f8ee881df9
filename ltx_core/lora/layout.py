"""What LoRA files call their tensors: every layout that programs write for LTX-2, as one. No torch."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar

from ltx_core.checkpoint.keys import PREFIXES, diffusers_name, to_original_keys
from ltx_core.errors import CheckpointError

T = TypeVar("T")
Role = Literal["down", "up", "alpha"]
PREFIX = "diffusion_model."
DOWN, UP, ALPHA = ".lora_A.weight", ".lora_B.weight", ".alpha"
FOREIGN_PREFIXES = ("model.diffusion_model.", PREFIX, "base_model.model.", "transformer.")
"""ComfyUI's, Lightricks' and ComfyUI's, peft's, diffusers'; `save_lora_adapter` of diffusers writes none."""
HALVES: dict[str, Role] = {
    "lora_A": "down",
    "lora_B": "up",
    "lora_down": "down",
    "lora_up": "up",
    "lora.down": "down",
    "lora.up": "up",
}
"""peft's names, kohya's, old diffusers'. The name of an adapter may follow, as peft's own state dict has it."""
_HALF = re.compile(rf"(.+?)\.({'|'.join(map(re.escape, HALVES))})(?:\.\w+)?\.weight")


def original_name(module: str) -> str:
    """A module of diffusers' transformer under Lightricks' name, which ComfyUI, ltx-core and diffusers all know."""
    (name,) = to_original_keys("transformer", {module: None})
    return name.removeprefix(PREFIXES["transformer"])


def strip_prefix(name: str) -> str:
    """A module as a file names it, without the program's prefix and under diffusers' name."""
    while prefix := next((p for p in FOREIGN_PREFIXES if name.startswith(p)), None):
        name = name.removeprefix(prefix)
    return diffusers_name("transformer", name)


def parts(path: Path, tensors: Mapping[str, T]) -> dict[str, dict[Role, T]]:
    """The tensors of a file, or what its header says of them, by module under diffusers' name, and by what they are.

    Raises:
        CheckpointError: a tensor is no part of a plain LoRA, or a module has one twice; names them.
    """
    found: dict[str, dict[Role, T]] = {}
    foreign, twice = [], []
    for key, tensor in tensors.items():
        place = _place(key)
        if place is None:
            foreign.append(key)
            continue
        module, role = place
        if role in found.setdefault(module, {}):
            twice.append(key)
        found[module][role] = tensor
    if foreign or not tensors:
        raise CheckpointError(
            f"{path} holds {foreign[:3] or 'no tensors'}{f' and {len(foreign) - 3} more' if len(foreign) > 3 else ''}; "
            f"a plain LoRA is wanted: <module>{DOWN} and {UP} (or lora_down and lora_up), with or without <module>"
            f"{ALPHA}. Full differences and convolutions are not supported; fold them into a plain LoRA"
        )
    if twice:
        raise CheckpointError(f"{path} holds two adapters for one module, such as {twice[:3]}; keep one in the file")
    return found


def _place(key: str) -> tuple[str, Role] | None:
    """Module under diffusers' name, and role; None for what is no part of a LoRA."""
    if key.endswith(ALPHA):
        return strip_prefix(key.removesuffix(ALPHA)), "alpha"
    half = _HALF.fullmatch(key)
    return (strip_prefix(half[1]), HALVES[half[2]]) if half else None
