"""Load a checkpoint's transformer to where the engine wants each block."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from diffusers import LTX2VideoTransformer3DModel

from ltx_core.checkpoint.complete import compare_shapes
from ltx_core.checkpoint.load import empty_transformer
from ltx_core.checkpoint.model import Model
from ltx_core.checkpoint.read import TensorReader
from ltx_core.engine.assemble import Read, assemble, fill_block, fill_outside
from ltx_core.engine.low_precision import Format
from ltx_core.engine.options import EngineOptions
from ltx_core.engine.precision_choice import Comparison
from ltx_core.engine.precision_loss import compare
from ltx_core.engine.quantised_cache import NoCache, QuantisedFolder, opened


def load_denoiser(
    checkpoint: Model,
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
        OutOfMemory: the host has no room for the offloaded blocks.
    """
    transformer = empty_transformer(checkpoint)
    with _reader(checkpoint, transformer, device=device, dtype=dtype) as (reader, read), opened(cache, reader) as kept:
        assemble(transformer, read, options, device=torch.device(device), cache=kept)
    return transformer


def compare_in_8_bits(
    checkpoint: Model,
    kind: Format,
    loss: Callable[[Any], torch.Tensor],
    *,
    clip: str,
    low_backward: bool,
    device: str,
    dtype: torch.dtype,
    kept_bytes: int = 0,
) -> Comparison:
    """Return what 8 bits lose of this transformer, and how its layers are to be held and multiplied. `loss` runs one
    batch, which is of `clip`, through the transformer it is given. The device holds a block and its activations at a
    time, and `kept_bytes` of blocks that wait for their next turn, so that they are not read four times.

    Raises:
        CheckpointError: as `load_denoiser`.
    """
    transformer, target = empty_transformer(checkpoint), torch.device(device)
    with _reader(checkpoint, transformer, device=device, dtype=dtype) as (_, read):
        kept = KeptReads(read, kept_bytes)

        def fill(index: int, options: EngineOptions) -> torch.nn.Module:
            block = deepcopy(transformer.transformer_blocks[index])
            fill_block(block, index, kept, options, device=target)
            return block

        fill_outside(transformer, read, NoCache())
        transformer.requires_grad_(False).eval()
        try:
            return compare(
                transformer,
                fill,
                lambda: loss(transformer),
                kind,
                clip=clip,
                low_backward=low_backward,
                device=target,
            )
        finally:
            kept.forget()  # what is above refers to itself, and would stay until Python's collector comes by


class KeptReads:
    """Reads a block's tensors, and keeps them for the next time while there is room."""

    def __init__(self, read: Read, room: int) -> None:
        """`room`: bytes that may be kept."""
        self._read, self._room = read, room
        self._kept: dict[str, Mapping[str, torch.Tensor]] = {}

    def __call__(self, names: Sequence[str]) -> Mapping[str, torch.Tensor]:
        """The tensors of one block, by their names; to be left as they are."""
        if (found := self._kept.get(names[0])) is None:
            found = self._read(names)
            size = sum(tensor.nbytes for tensor in found.values())
            if size <= self._room:
                self._room -= size
                self._kept[names[0]] = found
        return found

    def forget(self) -> None:
        """Keep nothing any more."""
        self._kept.clear()
        self._room = 0


@contextmanager
def _reader(
    checkpoint: Model, transformer: Any, *, device: str, dtype: torch.dtype
) -> Iterator[tuple[TensorReader, Read]]:
    """A reader of the transformer's tensors by their names, once their shapes are known to be right."""
    weights = checkpoint.weights("transformer")
    expected = {name: tuple(tensor.shape) for name, tensor in transformer.state_dict().items()}
    compare_shapes(f"the transformer in {checkpoint.path}", weights, expected)
    with TensorReader(device=device, dtype=dtype) as reader:

        def read(names: Sequence[str]) -> Mapping[str, torch.Tensor]:
            return reader.weights({name: weights[name] for name in names})

        yield reader, read
