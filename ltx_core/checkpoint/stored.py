"""Where a tensor's bytes are, for checkpoints of any number of files. No torch."""

from pathlib import Path
from typing import NamedTuple

from ltx_core.files.safetensors import TensorEntry


class StoredTensor(NamedTuple):
    """One tensor of one file."""

    path: Path
    name: str
    """As the file spells it, for messages."""
    entry: TensorEntry

    @property
    def dtype(self) -> str:
        """As the format spells it."""
        return self.entry.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """As stored; packed values count once for each byte."""
        return self.entry.shape
