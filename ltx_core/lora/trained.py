"""What training needs of the adapter that it trains, whatever kind it is; and the plain LoRA as one."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from ltx_core.lora.files import check_tensors, export_tensors, load_lora
from ltx_core.lora.inject import ADAPTER, lora_parameters, without_lora

RELOADED = "reloaded"
"""Name of the adapter that a file is tried as."""


class TrainedAdapter(Protocol):
    """An adapter that lies on a transformer, switched on."""

    @property
    def transformer(self) -> Any:
        """What it lies on."""

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """What is trained, by `<layer>.<tensor>`, sorted by name."""

    def switched_off(self) -> AbstractContextManager[None]:
        """The base model for the length of the block."""

    def exported(self) -> dict[str, torch.Tensor]:
        """The adapter as a file holds it."""

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
        """As the protocol says."""
        load_lora(path, self.transformer, adapter=RELOADED)
        try:
            self.transformer.set_adapter(RELOADED)
            yield
        finally:
            self.transformer.set_adapter(ADAPTER)
            self.transformer.delete_adapters(RELOADED)
