"""Several LoRAs on one transformer at once, for a while."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ltx_core.lora.adapter import Adapter
from ltx_core.lora.files import load_lora


@contextmanager
def stacked(transformer: Any, adapters: Sequence[Adapter]) -> Iterator[None]:
    """The transformer with the sum of these LoRAs for the length of the block, and as it was after it.

    Their weights are held in the transformer's own dtype: a published one of rank 384 is then half as large and
    several times as fast as in float32, and its file is no more exact.

    Raises:
        CheckpointError: a file is not understood, or changes a layer that the transformer does not have.
    """
    dtype, names = transformer.dtype, [f"stacked-{number}" for number in range(len(adapters))]
    loaded: list[str] = []
    try:
        for name, adapter in zip(names, adapters, strict=True):
            load_lora(adapter.path, transformer, adapter=name, strength=adapter.strength, dtype=dtype)
            loaded.append(name)
        if loaded:
            transformer.set_adapter(loaded)
        yield
    finally:
        if loaded:
            transformer.delete_adapters(loaded)
