"""Read stored tensors straight to a device and dtype, a piece at a time; no file is ever mapped or held whole."""

from contextlib import ExitStack
from io import BufferedReader
from pathlib import Path
from types import TracebackType

import torch

from ltx_core.checkpoint.quantised.reader import Weight
from ltx_core.checkpoint.stored import StoredTensor
from ltx_core.errors import CheckpointError
from ltx_core.files.tensors import extremes, not_finite, torch_dtype

PIECE_BYTES = 2**26
"""Host memory that a read takes beside its result: 64 MiB."""


class TensorReader:
    """Open files and one buffer, for as long as a module is being filled. A context manager.

    On leaving it, every floating-point number that was read is finite, or an error names a tensor that holds another.
    """

    def __init__(self, *, device: str, dtype: torch.dtype) -> None:
        self.device, self.dtype = torch.device(device), dtype
        self._buffer = torch.empty(PIECE_BYTES, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        self._files: dict[Path, BufferedReader] = {}
        self._open = ExitStack()
        self._broken: list[str] = []
        self._extremes: list[tuple[str, torch.Tensor]] = []

    def __enter__(self) -> "TensorReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
        if kind is None:
            self._refuse_what_is_not_finite()

    def wanted(self, stored: StoredTensor, scale: torch.Tensor | None = None) -> torch.Tensor:
        """In the wanted dtype; times `scale` in float32 first, where one is given."""
        return self._read(stored, self.dtype, scale)

    def exact(self, stored: StoredTensor) -> torch.Tensor:
        """In float32."""
        return self._read(stored, torch.float32, None)

    def raw(self, stored: StoredTensor) -> torch.Tensor:
        """Bytes, uint8, as stored."""
        return self._read(stored, torch.uint8, None)

    def as_stored(self, stored: StoredTensor) -> torch.Tensor:
        """In the dtype that it has in the file; whether numbers are finite is for the caller, who has checksums."""
        return self._filled(stored, torch_dtype(stored.path, stored.name, stored.dtype), None)

    def cast(self, tensor: torch.Tensor) -> torch.Tensor:
        """A computed tensor in the wanted dtype."""
        return tensor.to(self.dtype)

    def _read(self, stored: StoredTensor, dtype: torch.dtype, scale: torch.Tensor | None) -> torch.Tensor:
        result = self._filled(stored, dtype, scale)
        self._look_at(stored, result)
        return result

    def _filled(self, stored: StoredTensor, dtype: torch.dtype, scale: torch.Tensor | None) -> torch.Tensor:
        kind = torch_dtype(stored.path, stored.name, stored.dtype)
        result = torch.empty(stored.shape, dtype=dtype, device=self.device)
        flat, file, step = result.view(-1), self._file(stored.path), PIECE_BYTES // kind.itemsize
        file.seek(stored.entry.begin)
        for begin in range(0, flat.numel(), step):
            target = flat[begin : begin + step]
            piece = self._buffer[: target.numel() * kind.itemsize]
            if file.readinto(piece.numpy().data) != piece.numel():
                raise CheckpointError(f"{stored.path} ends inside {stored.name}; copy or download the file again")
            values = piece.view(kind)
            target.copy_(values if scale is None else values.to(self.device).float() * scale)
        return result

    def _look_at(self, stored: StoredTensor, values: torch.Tensor) -> None:
        """See whether all are finite: one reduction, and on a GPU nothing waits for its outcome."""
        name = f"{stored.name} of {stored.path}"
        if values.device.type == "cpu":
            self._broken += not_finite([(name, values)])
        elif (found := extremes(values)) is not None:
            self._extremes.append((name, found.float()))

    def _refuse_what_is_not_finite(self) -> None:
        if self._extremes:
            finite = torch.stack([found for _, found in self._extremes]).isfinite().all(dim=1).tolist()
            self._broken += [name for (name, _), good in zip(self._extremes, finite, strict=True) if not good]
        if self._broken:
            more = f" and {len(self._broken) - 1} more tensors" if len(self._broken) > 1 else ""
            raise CheckpointError(
                f"{self._broken[0]}{more} hold NaN or infinity; finite weights are wanted. Download the file again, "
                "or give another."
            )

    def _file(self, path: Path) -> BufferedReader:
        if path not in self._files:
            self._files[path] = self._open.enter_context(path.open("rb"))
        return self._files[path]


def read_weights(weights: dict[str, Weight], *, device: str, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """All of them by name, read in the order of their file.

    Raises:
        CheckpointError: a file ends early, or a number in it is not finite.
    """
    ordered = sorted(weights.items(), key=lambda item: item[1].begin)
    with TensorReader(device=device, dtype=dtype) as reader:
        return {name: weight.read(reader) for name, weight in ordered}
