"""A file with the header of a released model and, instead of 38 GB of weights, a hole."""

import json
import math
import struct
from pathlib import Path
from typing import Any

import torch

from benchmarks import released
from benchmarks.engine import empty_transformer
from ltx_core.checkpoint.keys import to_original_keys
from ltx_core.tiny.header import Generation, config
from ltx_core.tiny.model import build_modules

BLOCK = "transformer_blocks.0."
BFLOAT16_BYTES = 2
TEXT_WIDTHS = {"text": 3840, "video": 4096, "audio": 2048}
NUM_BLOCKS: int = released.TRANSFORMER_WIDTHS["num_layers"]


def write_released_header(path: Path, generation: Generation = "2.0") -> Path:
    """Transformer and connectors as released, all else as the miniature's, whose text encoder goes with it."""
    shapes: dict[str, tuple[int, ...]] = {}
    for component, found in _shapes(generation).items():
        shapes |= to_original_keys(component, found)
    sections = config(generation) | {"transformer": released.transformer_section(generation)}
    header: dict[str, Any] = {"__metadata__": {"config": json.dumps(sections), "model_version": generation}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + BFLOAT16_BYTES * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    raw = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + end)
    return path


def transformer_shapes(generation: Generation = "2.0") -> dict[str, tuple[int, ...]]:
    """Of the released transformer, by the names in diffusers' module."""
    one_block = empty_transformer(1, False, generation).state_dict()
    return repeated({key: tuple(tensor.shape) for key, tensor in one_block.items()}, NUM_BLOCKS)


def _shapes(generation: Generation) -> dict[str, dict[str, tuple[int, ...]]]:
    one_block = released.transformer_section(generation) | {"num_layers": 1}
    with torch.device("meta"):
        modules = build_modules(config(generation) | {"transformer": one_block})
    found = {name: {key: tuple(t.shape) for key, t in module.state_dict().items()} for name, module in modules.items()}
    found["transformer"] = repeated(found["transformer"], NUM_BLOCKS)
    for key, shape in found["text_projection"].items():  # of a toy's states, to what the released connectors take
        found["text_projection"][key] = (TEXT_WIDTHS[key.partition("_")[0]], *shape[1:])
    return found


def repeated(one: dict[str, tuple[int, ...]], num_blocks: int) -> dict[str, tuple[int, ...]]:
    """A transformer's shapes with `num_blocks` blocks like its first."""
    first = {name: shape for name, shape in one.items() if name.startswith(BLOCK)}
    rest = {name: shape for name, shape in one.items() if not name.startswith(BLOCK)}
    more = {n.replace(BLOCK, f"transformer_blocks.{i}."): s for i in range(num_blocks) for n, s in first.items()}
    return rest | more
