"""Whether a LoRA fits a transformer, from their headers alone. No torch: it is asked before anything is computed."""

from collections.abc import Mapping
from pathlib import Path

from ltx_core.errors import CheckpointError
from ltx_core.files.safetensors import read_header
from ltx_core.lora.layout import Role, parts

Shape = tuple[int, ...]
HALF_DTYPES = ("F32", "BF16", "F16")


def header_shapes(path: Path) -> dict[str, tuple[int, int]]:
    """[out, in] of the weights that a LoRA file changes, by module of diffusers' transformer.

    Raises:
        CheckpointError: the file is missing, torn, or no plain LoRA; names what is odd.
    """
    return {module: _shape(path, module, found) for module, found in parts(path, _entries(path)).items()}


def check_fits(path: Path, changed: Mapping[str, Shape], shapes: Mapping[str, Shape]) -> None:
    """Whether every weight that the LoRA at `path` changes is among `shapes`; both [out, in] by module.

    Raises:
        CheckpointError: a module is missing or of another shape; names the first ones.
    """
    if unknown := [module for module in changed if module not in shapes]:
        raise CheckpointError(
            f"{path} changes {len(unknown)} modules that are missing in this transformer, such as {unknown[:3]}; "
            f"use the LoRA with the model it was trained on"
        )
    for module, shape in changed.items():
        if shapes[module] != shape:
            raise CheckpointError(
                f"{path} changes {module} as a {list(shape)} layer, which is of shape {list(shapes[module])} in this "
                f"transformer; use the LoRA with the model generation it was trained on"
            )


def _entries(path: Path) -> dict[str, tuple[str, Shape]]:
    return {name: (entry.dtype, entry.shape) for name, entry in read_header(path).tensors.items()}


def _shape(path: Path, module: str, found: Mapping[Role, tuple[str, Shape]]) -> tuple[int, int]:
    if not {"down", "up"} <= found.keys():
        raise CheckpointError(f"{path} has only one of lora_A and lora_B for {module}; both are wanted")
    (down_dtype, down), (up_dtype, up) = found["down"], found["up"]
    if len(down) != 2 or len(up) != 2 or down[0] != up[1] or {down_dtype, up_dtype} - {*HALF_DTYPES}:
        raise CheckpointError(
            f"{path} has lora_A {down_dtype} {list(down)} and lora_B {up_dtype} {list(up)} for {module}; wanted are "
            f"[rank, in] and [out, rank] with equal ranks, as one of {', '.join(HALF_DTYPES)}"
        )
    return up[0], down[1]
