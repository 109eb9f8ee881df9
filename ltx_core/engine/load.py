"""Load a checkpoint's transformer to where the engine wants each block."""

from collections.abc import Mapping, Sequence

import torch
from diffusers import LTX2VideoTransformer3DModel

from ltx_core.checkpoint.fill import compare_shapes
from ltx_core.checkpoint.load import empty_transformer
from ltx_core.checkpoint.model import Checkpoint
from ltx_core.checkpoint.read import TensorReader
from ltx_core.engine.assemble import assemble
from ltx_core.engine.options import EngineOptions
from ltx_core.engine.quantised_cache import QuantisedFolder, opened


def load_denoiser(
    checkpoint: Checkpoint,
    options: EngineOptions,
    *,
    device: str,
    dtype: torch.dtype,
    cache: QuantisedFolder | None = None,
) -> LTX2VideoTransformer3DModel:
    """The frozen transformer, block by block: the device never holds more than it will keep and one block.

    With `cache`, blocks that were quantised before are read from there, and others are kept there.

    Raises:
        StorageError: quantised weights cannot be written.
        CheckpointError: tensors are missing, unknown or of another shape than the header's config says; names them.
        OutOfMemory: the host has no room for the streamed blocks.
    """
    transformer = empty_transformer(checkpoint)
    weights = checkpoint.weights("transformer")
    expected = {name: tuple(tensor.shape) for name, tensor in transformer.state_dict().items()}
    compare_shapes(f"the transformer in {checkpoint.path}", weights, expected)
    with TensorReader(device=device, dtype=dtype) as reader:

        def read(names: Sequence[str]) -> Mapping[str, torch.Tensor]:
            ordered = sorted(names, key=lambda name: weights[name].begin)
            return {name: weights[name].read(reader) for name in ordered}

        with opened(cache, reader) as kept:
            assemble(transformer, read, options, device=torch.device(device), cache=kept)
    return transformer
