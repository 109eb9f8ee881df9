"""What a scheme needs of whoever reads bytes; so schemes know no device and no torch."""

from typing import TYPE_CHECKING, Protocol

from ltx_core.checkpoint.stored import StoredTensor

if TYPE_CHECKING:
    import torch


class Reader(Protocol):
    """Reads stored tensors to one device and gives them in one dtype."""

    def wanted(self, stored: StoredTensor, scale: "torch.Tensor | None" = None) -> "torch.Tensor":
        """In the wanted dtype; times `scale` in float32 first, where one is given."""
        ...

    def exact(self, stored: StoredTensor) -> "torch.Tensor":
        """In float32."""
        ...

    def raw(self, stored: StoredTensor) -> "torch.Tensor":
        """Bytes, uint8, as stored."""
        ...

    def cast(self, tensor: "torch.Tensor") -> "torch.Tensor":
        """A computed tensor in the wanted dtype."""
        ...


class Weight(Protocol):
    """One tensor of a module, however many tensors of a file it takes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Once it is read."""
        ...

    @property
    def begin(self) -> int:
        """First byte in its file, to read in the file's order."""
        ...

    def read(self, reader: Reader) -> "torch.Tensor":
        """The values."""
        ...
