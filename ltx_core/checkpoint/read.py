"""Read stored weights straight to a device and dtype, a piece at a time; no file is ever mapped or held whole."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from ltx_core.checkpoint.complete import compare_shapes
from ltx_core.checkpoint.model import Model
from ltx_core.checkpoint.stored import BLOCK, TILE_COLUMNS, TILE_ROWS, Nvfp4Weight, StoredTensor, Weight, num_tiles
from ltx_core.errors import CheckpointError
from ltx_core.io.read_at import READERS, fill_together
from ltx_core.io.tensors import extremes, not_finite, torch_dtype

PIECE_BYTES = 2**26
"""Host memory that a read takes beside its result: 64 MiB."""
GROUPS = 4
"""Groups of 32 rows that are interleaved in a tile of nvfp4's block scales, which is the order that cuBLAS wants
(Lightricks' NVFP4 document)."""
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
"""Values of nvfp4's 16 codes: a sign bit, two bits of exponent, one of mantissa."""


class TensorReader:
    """Open files and one buffer, for as long as a module is being filled. A context manager.

    On leaving it, every floating-point number that was read is finite, or an error names a tensor that holds another.
    """

    def __init__(self, *, device: str, dtype: torch.dtype) -> None:
        self.device, self.dtype = torch.device(device), dtype
        self._buffer = torch.empty(PIECE_BYTES, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        self._files: dict[Path, BufferedReader] = {}
        self._open = ExitStack()
        self._threads = self._open.enter_context(ThreadPoolExecutor(READERS, "reading weights"))
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

    def weights(self, weights: Mapping[str, Weight]) -> dict[str, torch.Tensor]:
        """All of them by name, read in the order of their file."""
        ordered = sorted(weights.items(), key=lambda item: item[1].values.entry.begin)
        return {name: self.weight(weight) for name, weight in ordered}

    def weight(self, weight: Weight) -> torch.Tensor:
        """A weight in the wanted dtype; fp8 is multiplied by its scale in float32 first."""
        if isinstance(weight, Nvfp4Weight):
            return self._nvfp4(weight)
        if weight.gate is not None:
            return self._gated(weight.values, weight.gate)
        scale = None if weight.scale is None else self._read(weight.scale, torch.float32)
        return self._read(weight.values, self.dtype, scale)

    def _gated(self, stored: StoredTensor, gate: StoredTensor) -> torch.Tensor:
        """Rows times their gates, rounded as the file stores them, as Lightricks' loader does."""
        values, gates = self._read(stored, torch.float32), self._read(gate, torch.float32)
        product = values * gates.view(-1, *(1 for _ in values.shape[1:]))
        return product.to(torch_dtype(stored.path, stored.name, stored.dtype)).to(self.dtype)

    def as_stored(self, stored: StoredTensor) -> torch.Tensor:
        """In the dtype that it has in the file; whether numbers are finite is for the caller, who has checksums."""
        return self._filled(stored, torch_dtype(stored.path, stored.name, stored.dtype), None)

    def _nvfp4(self, weight: Nvfp4Weight) -> torch.Tensor:
        """e2m1 * (block scale * tensor scale), the two scales multiplied first."""
        rows, columns = weight.shape
        packed = self._read(weight.values, torch.uint8)
        scales = unswizzled(self._read(weight.block_scales, torch.float32), rows, columns // BLOCK)
        scales = scales * self._read(weight.tensor_scale, torch.float32).reshape(())
        codes = scales.new_tensor(E2M1)
        values = scales.new_empty(rows, columns // 2, 2)
        values[..., 0] = codes[(packed >> 4).int()]
        values[..., 1] = codes[(packed & 15).int()]
        return values.view(rows, -1, BLOCK).mul_(scales[..., None]).view(rows, columns).to(self.dtype)

    def _read(self, stored: StoredTensor, dtype: torch.dtype, scale: torch.Tensor | None = None) -> torch.Tensor:
        result = self._filled(stored, dtype, scale)
        self._look_at(stored, result)
        return result

    def _filled(self, stored: StoredTensor, dtype: torch.dtype, scale: torch.Tensor | None) -> torch.Tensor:
        kind = torch_dtype(stored.path, stored.name, stored.dtype)
        result = torch.empty(stored.shape, dtype=dtype, device=self.device)
        flat, file, step = result.view(-1), self._file(stored.path), PIECE_BYTES // kind.itemsize
        for begin in range(0, flat.numel(), step):
            target = flat[begin : begin + step]
            piece = self._buffer[: target.numel() * kind.itemsize]
            place = stored.entry.begin + begin * kind.itemsize
            if fill_together(piece.numpy().data, file, place, self._threads) != piece.numel():
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


def unswizzled(scales: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Block scales [rows, columns] of nvfp4 in plain order, without the padding."""
    tiles = scales.reshape(-1, num_tiles(columns, TILE_COLUMNS), TILE_ROWS // GROUPS, GROUPS, TILE_COLUMNS)
    plain = tiles.permute(0, 3, 2, 1, 4).reshape(num_tiles(rows, TILE_ROWS) * TILE_ROWS, -1)
    return plain[:rows, :columns]


def read_weights(weights: Mapping[str, Weight], *, device: str, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """All of them by name, read in the order of their file.

    Raises:
        CheckpointError: a file ends early, or a number in it is not finite.
    """
    with TensorReader(device=device, dtype=dtype) as reader:
        return reader.weights(weights)


def filled(build: Callable[[], Any], checkpoint: Model, component: str, device: str, dtype: torch.dtype) -> Any:
    """Build on the meta device, hold every name and shape against the file, then read straight to `device`; frozen and
    in eval mode.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape than the module's; names them.
    """
    return filled_with(build, checkpoint.weights(component), f"the {component} in {checkpoint.path}", device, dtype)


def filled_with(
    build: Callable[[], Any], weights: Mapping[str, Weight], what: str, device: str, dtype: torch.dtype
) -> Any:
    """As `filled`, of a module's weights by their names in it; `what` it is, for messages.

    Raises:
        CheckpointError: as for `filled`.
    """
    with torch.device("meta"):
        module = build()
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    compare_shapes(what, weights, expected)
    module.load_state_dict(read_weights(weights, device=device, dtype=dtype), strict=True, assign=True)
    return module.requires_grad_(False).eval()
