"""Whether an adapter file, plain LoRA or LyCORIS, fits a transformer, from headers alone. No torch."""

from collections.abc import Mapping
from pathlib import Path

from ltx_core.files.safetensors import read_header
from ltx_core.lora.fit import HALF_DTYPES, check_fits, header_shapes
from ltx_core.lycoris.layout import is_lycoris, lycoris_parts, options_of

Shape = tuple[int, ...]


def check_adapter(path: Path, layers: Mapping[str, Shape]) -> None:
    """Whether everything in the file changes one of `layers`, which are [out, in] by module.

    Raises:
        CheckpointError: the file is missing, torn, of another kind, or of another model; names what is odd.
    """
    if not is_lycoris_file(path):
        check_fits(path, header_shapes(path), layers)
        return
    entries = read_header(path).tensors
    linear = {name: shape for name, shape in layers.items() if len(shape) == 2}
    for module, parts in lycoris_parts(path, entries, linear).items():
        shapes = {name: entry.shape for name, entry in parts.items() if entry.dtype in HALF_DTYPES}
        options_of(path, module, shapes, linear[module], None)


def is_lycoris_file(path: Path) -> bool:
    """Told from the names of its tensors.

    Raises:
        CheckpointError: the file is missing or torn.
    """
    return is_lycoris(read_header(path).tensors)
