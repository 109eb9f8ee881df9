"""What one forward of sampling takes beyond the weights, by tensors that live at once: no GPU, no weights, no step.

    PYTHONPATH=. python benchmarks/sampling_memory.py --out results.jsonl

Two full-size blocks run on tensors that have shapes and no values; every piece of memory is counted while something
holds it. What kernels take for themselves is not in it.
"""

import argparse
import sys
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks import engine
from benchmarks.activations import TRACED, without_values
from benchmarks.lines import say
from ltx_core.denoiser.forward import denoise
from ltx_core.denoiser.tokens import Stream

GIB = 2**30
SHAPES = {"17": (480, 832, 17, 1), "121": (512, 768, 121, 1), "121 wide": (704, 1280, 121, 1)}


class LiveMemory(TorchDispatchMode):
    """Bytes of all memory that operations made and something still holds, and the most they ever were."""

    def __init__(self, known: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._sizes = {tensor.untyped_storage()._cdata: 0 for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self._sizes:
            self._sizes[storage._cdata] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._free, storage._cdata)

    def _free(self, place: int) -> None:
        self.now -= self._sizes.pop(place)


def peak_bytes(precision: str, shape: str, *, generation: str = "2.0", by_token: bool = False) -> int:
    """Of one forward of one clip. `by_token`: tokens have timesteps of their own, as with a clean first frame."""
    with without_values(precision, tiny=False, generation=generation, blocks=2, fused=False) as transformer:
        data = engine.batch(transformer, SHAPES[shape], 1024)
        sigma = data["sigma"]
        times = sigma[:, None].expand(-1, data["video"].shape[1]) if by_token else sigma
        video = Stream(data["video"], times, sigma, data["video_context"], data["video_positions"])
        audio = Stream(data["audio"], sigma, sigma, data["audio_context"], data["audio_positions"])
        memory = LiveMemory([*transformer.parameters(), *transformer.buffers(), *data.values()])
        with torch.no_grad(), memory:
            denoise(transformer, video, audio)
    return memory.peak


def main() -> int:
    """Print one line of JSON for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="append the lines here")
    args = parser.parse_args()
    engine.DEVICE = torch.device("cpu")
    cases = [(precision, shape, False) for precision in ("native", "int8-weights", "fp8-weights") for shape in SHAPES]
    for precision, shape, by_token in [*cases, ("native", "121", True)]:
        found = peak_bytes(precision, shape, by_token=by_token)
        row = {"row": precision, "shape": shape, "by_token": by_token, "peak_gib": round(found / GIB, 4)}
        say("sampling_memory", {**TRACED, **row}, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
