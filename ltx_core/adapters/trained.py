"""Adapters on a transformer, whatever their kind: what training needs, several at once, the check before one leaves."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from ltx_core.adapters.lora import ADAPTER, lora_layers, lora_parameters, without_lora
from ltx_core.adapters.lora_files import check_tensors, export_tensors, fill_lora, load_lora
from ltx_core.adapters.lora_layout import Adapter
from ltx_core.adapters.lycoris_layout import is_lycoris_file
from ltx_core.errors import CheckpointError
from ltx_core.io.tensors import read_tensors


class TrainedAdapter(Protocol):
    """An adapter that lies on a transformer, switched on."""

    @property
    def transformer(self) -> Any:
        """The layer or weight that it changes."""

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Return what is trained, by `<layer>.<tensor>`, sorted by name."""

    def switched_off(self) -> AbstractContextManager[None]:
        """The base model for the length of the block."""

    def exported(self) -> dict[str, torch.Tensor]:
        """The adapter as a file holds it, on the CPU and in memory of its own, which training does not change."""

    def check(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Refuse, with a CheckpointError, what `exported` gave if it is broken or does nothing."""

    def replaced_by(self, path: Path) -> AbstractContextManager[None]:
        """The adapter of the file at `path` in its place, for the length of the block."""


class PlainLora:
    """A LoRA of peft's layers."""

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """As the protocol says."""
        return lora_parameters(self.transformer)

    def switched_off(self) -> AbstractContextManager[None]:
        """As the protocol says."""
        return without_lora(self.transformer)

    def exported(self) -> dict[str, torch.Tensor]:
        """As the protocol says."""
        return export_tensors(self.transformer)

    def check(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """As the protocol says."""
        check_tensors(tensors)

    @contextmanager
    def replaced_by(self, path: Path) -> Iterator[None]:
        """As the protocol says. The trained layers take the file's weights for the while: peft takes longer to add a
        second adapter than all forwards of the check take."""
        layers = lora_layers(self.transformer)
        kept = {
            name: (layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight, layer.scaling[ADAPTER])
            for name, layer in layers.items()
        }
        try:
            fill_lora(path, self.transformer)
            yield
        finally:
            for name, (down, up, scale) in kept.items():
                layer = layers[name]
                layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight = down, up
                layer.scaling[ADAPTER] = scale


EFFECT_TOLERANCE = 0.05
"""Of the LoRA's effect. Rounding weights to bf16 moves them by 2^-9, the effect by well under a percent."""
OUTPUT_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}
"""Of the output: how much two equal forwards may differ in the base model's own arithmetic."""


def check_export(
    path: Path, transformer: Any, probe: Callable[[], torch.Tensor], adapter: TrainedAdapter | None = None
) -> None:
    """Prove that the file at `path` is the trained adapter: finite, non-zero, equal tensors, equal output.

    `probe` runs a fixed forward of `transformer`, which has a plain LoRA unless another `adapter` is named. The file's
    weights are put in the place of the trained ones and taken out again.

    Raises:
        CheckpointError: the file does not do what the trained adapter does; says by how much.
    """
    adapter = adapter or PlainLora(transformer)
    stored, _ = read_tensors(path)
    adapter.check(stored)
    trained = adapter.exported()
    if differing := [n for n in sorted(stored.keys() | trained.keys()) if not _same(stored.get(n), trained.get(n))]:
        raise CheckpointError(f"{path} differs from the trained adapter in {differing[:3]}; write it again")
    with torch.no_grad():
        _check_output(path, adapter, probe)


def _check_output(path: Path, adapter: TrainedAdapter, probe: Callable[[], torch.Tensor]) -> None:
    wanted = probe().float()
    with adapter.switched_off():
        base = probe().float()
    with adapter.replaced_by(path):
        found = probe().float()
    effect, error = (wanted - base).norm().item(), (found - wanted).norm().item()
    limit = (
        EFFECT_TOLERANCE * effect + OUTPUT_TOLERANCE[adapter.transformer.proj_in.weight.dtype] * wanted.norm().item()
    )
    if not error <= limit:
        raise CheckpointError(
            f"{path} reloads to another output: off by {error:.3g} where the LoRA's effect is {effect:.3g}; at most "
            f"{limit:.3g} is rounding. Do not use the file; report this."
        )


def _same(left: torch.Tensor | None, right: torch.Tensor | None) -> bool:
    return left is not None and right is not None and torch.equal(left, right)


@contextmanager
def stacked(transformer: Any, adapters: Sequence[Adapter], *, partly: bool = False) -> Iterator[None]:
    """The transformer with the sum of what these adapters change, for the length of the block, and as it was after it.
    `partly` is for a transformer with fewer blocks than theirs: the LoRAs change those that it has.

    Their weights are held in the transformer's own dtype: a published one of rank 384 is then half as large and
    several times as fast as in float32, and its file is no more exact.

    Raises:
        CheckpointError: a file is not understood, or changes a layer that the transformer does not have.
    """
    dtype, loras = transformer.dtype, [adapter for adapter in adapters if not is_lycoris_file(adapter.path)]
    with ExitStack() as stack:
        if others := [adapter for adapter in adapters if adapter not in loras]:
            stack.enter_context(_lycoris(transformer, others, dtype))
        stack.enter_context(_plain(transformer, loras, dtype, partly=partly))
        yield


@contextmanager
def _plain(transformer: Any, adapters: Sequence[Adapter], dtype: torch.dtype, *, partly: bool) -> Iterator[None]:
    names, loaded = [f"stacked-{number}" for number in range(len(adapters))], []
    try:
        for name, adapter in zip(names, adapters, strict=True):
            load_lora(adapter.path, transformer, adapter=name, strength=adapter.strength, dtype=dtype, partly=partly)
            loaded.append(name)
        if loaded:
            transformer.set_adapter(loaded)
        yield
    finally:
        if loaded:
            transformer.delete_adapters(loaded)


@contextmanager
def _lycoris(transformer: Any, adapters: Sequence[Adapter], dtype: torch.dtype) -> Iterator[None]:
    from ltx_core.adapters.lycoris import remove_lycoris
    from ltx_core.adapters.lycoris_files import load_lycoris  # the library takes seconds to import

    names = [f"stacked-{number}" for number in range(len(adapters))]
    try:
        for name, adapter in zip(names, adapters, strict=True):
            load_lycoris(adapter.path, transformer, adapter=name, strength=adapter.strength, dtype=dtype)
        yield
    finally:
        for name in names:
            remove_lycoris(transformer, name)
