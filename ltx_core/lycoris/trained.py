"""A LyCORIS adapter as training sees it."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch

from ltx_core.lora.inject import ADAPTER
from ltx_core.lora.trained import RELOADED
from ltx_core.lycoris.adapter import add_lycoris, lycoris_parameters, only, remove_lycoris
from ltx_core.lycoris.files import check_lycoris, export_lycoris, load_lycoris
from ltx_core.lycoris.layers import LayerOptions


class TrainedLycoris:
    """Modules of the library beside frozen layers. See `ltx_core.lora.trained.TrainedAdapter`."""

    def __init__(self, transformer: Any, layers: Mapping[str, LayerOptions], *, seed: int, multiplier: float) -> None:
        """Puts it on the transformer, at its start."""
        self.transformer = transformer
        add_lycoris(transformer, layers, adapter=ADAPTER, seed=seed, strength=multiplier)

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """As the protocol says."""
        return lycoris_parameters(self.transformer, ADAPTER)

    def switched_off(self) -> AbstractContextManager[None]:
        """As the protocol says."""
        return only(self.transformer)

    def exported(self) -> dict[str, torch.Tensor]:
        """As the protocol says."""
        return export_lycoris(self.transformer, ADAPTER)

    def check(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """As the protocol says."""
        check_lycoris(tensors)

    @contextmanager
    def replaced_by(self, path: Path) -> Iterator[None]:
        """As the protocol says."""
        load_lycoris(path, self.transformer, adapter=RELOADED)
        try:
            with only(self.transformer, RELOADED):
                yield
        finally:
            remove_lycoris(self.transformer, RELOADED)
