"""Several adapters on one transformer at once, for a while."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from ltx_core.lora.adapter import Adapter
from ltx_core.lora.files import load_lora
from ltx_core.lycoris.fit import is_lycoris_file


@contextmanager
def stacked(transformer: Any, adapters: Sequence[Adapter]) -> Iterator[None]:
    """The transformer with the sum of what these adapters change, for the length of the block, and as it was after it.

    Their weights are held in the transformer's own dtype: a published one of rank 384 is then half as large and
    several times as fast as in float32, and its file is no more exact.

    Raises:
        CheckpointError: a file is not understood, or changes a layer that the transformer does not have.
    """
    dtype, loras = transformer.dtype, [adapter for adapter in adapters if not is_lycoris_file(adapter.path)]
    with ExitStack() as stack:
        if others := [adapter for adapter in adapters if adapter not in loras]:
            stack.enter_context(_lycoris(transformer, others, dtype))
        stack.enter_context(_plain(transformer, loras, dtype))
        yield


@contextmanager
def _plain(transformer: Any, adapters: Sequence[Adapter], dtype: torch.dtype) -> Iterator[None]:
    names, loaded = [f"stacked-{number}" for number in range(len(adapters))], []
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


@contextmanager
def _lycoris(transformer: Any, adapters: Sequence[Adapter], dtype: torch.dtype) -> Iterator[None]:
    from ltx_core.lycoris.adapter import remove_lycoris
    from ltx_core.lycoris.files import load_lycoris  # the library takes seconds to import

    names = [f"stacked-{number}" for number in range(len(adapters))]
    try:
        for name, adapter in zip(names, adapters, strict=True):
            load_lycoris(adapter.path, transformer, adapter=name, strength=adapter.strength, dtype=dtype)
        yield
    finally:
        for name in names:
            remove_lycoris(transformer, name)
