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
from ltx_core.engine.assemble import BLOCKS, Read, assemble, fill_block, fill_outside, part_of
from ltx_core.engine.low_precision import Format
from ltx_core.engine.options import EngineOptions
from ltx_core.engine.precision_choice import Comparison
from ltx_core.engine.precision_loss import compare
from ltx_core.engine.quantised_cache import Handed, NoCache, QuantisedFolder, QuantisedParts, opened


def load_denoiser(
    checkpoint: Model,
    options: EngineOptions,
    *,
    device: str,
    dtype: torch.dtype,
    cache: QuantisedFolder | None = None,
    quantised: QuantisedParts | None = None,
) -> LTX2VideoTransformer3DModel:
    """The frozen transformer, block by block: the device never holds more than it will keep and one block.

    With `cache`, blocks that were quantised before are read from there, and others are kept there. Those of
    `quantised` are neither read nor made; they are taken out of it.

    Raises:
        StorageError: quantised weights cannot be written.
        CheckpointError: tensors are missing, unknown or of another shape than the header's config says; names them.
        OutOfMemory: the host has no room for the offloaded blocks.
    """
    transformer = empty_transformer(checkpoint)
    with _reader(checkpoint, transformer, device=device, dtype=dtype) as (reader, read), opened(cache, reader) as kept:
        parts = kept if quantised is None else Handed(quantised, kept)
        assemble(transformer, read, options, device=torch.device(device), cache=parts)
    return transformer


def one_block_denoiser(
    checkpoint: Model, options: EngineOptions, *, device: str, dtype: torch.dtype
) -> LTX2VideoTransformer3DModel:
    """A transformer of one block whose weights are zero: what is compiled for it is what the whole one is compiled for.

    Raises:
        CheckpointError: the config names what this release of diffusers does not know.
    """
    transformer = empty_transformer(checkpoint, num_blocks=1)
    shapes = {name: tensor.shape for name, tensor in transformer.state_dict().items()}

    def zeros(names: Sequence[str]) -> Mapping[str, torch.Tensor]:
        return {name: torch.zeros(shapes[name], device=device, dtype=dtype) for name in names}

    assemble(transformer, zeros, options, device=torch.device(device))
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
) -> tuple[Comparison, QuantisedParts]:
    """Return what 8 bits lose of this transformer, and how its layers are to be held and multiplied; and those of its
    blocks that are on the device so. `loss` runs one batch, which is of `clip`, through the transformer it is given.
    The device holds a block and its activations at a time, and `kept_bytes` of blocks that wait for their next turn, so
    that they are neither read nor made again.

    Raises:
        CheckpointError: as `load_denoiser`.
    """
    transformer, target = empty_transformer(checkpoint), torch.device(device)
    with _reader(checkpoint, transformer, device=device, dtype=dtype) as (_, read):

        def make(index: int, options: EngineOptions, read: Read) -> torch.nn.Module:
            block = deepcopy(transformer.transformer_blocks[index])
            fill_block(block, index, read, options, device=target)
            return block

        blocks = KeptBlocks(read, make, kept_bytes)
        fill_outside(transformer, read, NoCache())
        transformer.requires_grad_(False).eval()
        try:
            found = compare(
                transformer,
                blocks,
                lambda: loss(transformer),
                kind,
                clip=clip,
                low_backward=low_backward,
                device=target,
            )
            return found, blocks.quantised()
        finally:
            blocks.forget()  # what is above refers to itself, and would stay until Python's collector comes by


class KeptBlocks:
    """Blocks filled as asked, each kept for the next time while there is room: those in full precision, of which others
    are made without reading, and those in 8 bits of the options that were asked for last."""

    def __init__(self, read: Read, make: Callable[[int, EngineOptions, Read], torch.nn.Module], room: int) -> None:
        """`room`: bytes that may be kept."""
        self._read, self._make, self._room = read, make, room
        self._native: dict[int, torch.nn.Module] = {}
        self._in_8_bits: dict[int, torch.nn.Module] = {}
        self._options: EngineOptions | None = None
        """Those of the blocks in 8 bits."""

    def __call__(self, index: int, options: EngineOptions) -> torch.nn.Module:
        """The block with its weights as the options say; to be left as it is."""
        is_native = options.precision == "native"
        if not is_native and options != self._options:
            self._room += sum(map(_num_bytes, self._in_8_bits.values()))
            self._in_8_bits, self._options = {}, options
        kept = self._native if is_native else self._in_8_bits
        if (block := kept.get(index)) is None:
            block = self._make(index, options, self._tensors)
            if (size := _num_bytes(block)) <= self._room:
                self._room -= size
                kept[index] = block
        return block

    def quantised(self) -> QuantisedParts:
        """The parts in 8 bits that are kept."""
        return {part_of(index): block.state_dict() for index, block in self._in_8_bits.items()}

    def forget(self) -> None:
        """Keep nothing any more."""
        self._native, self._in_8_bits, self._room = {}, {}, 0

    def _tensors(self, names: Sequence[str]) -> Mapping[str, torch.Tensor]:
        """The tensors of one block, by their names."""
        _, number, *_ = names[0].split(".")
        if (native := self._native.get(int(number))) is None:
            return self._read(names)
        return native.state_dict(prefix=f"{BLOCKS}.{number}.")


def _num_bytes(block: torch.nn.Module) -> int:
    return sum(tensor.nbytes for tensor in block.state_dict().values())


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
