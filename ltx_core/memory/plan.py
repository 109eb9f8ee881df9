"""Choose how a part of the pipeline runs so that it fits a device and is fast, by arithmetic from headers. No torch.

One file for each part counts its memory and lists the ways in which it can run, the fastest first:

    training.py      a training step: activation checkpointing, block offload, activations that wait on the host
    transformer.py   a forward of sampling: block offload
    video_vae.py     encoding clips and decoding renders: chunks, slices, tiles
    encoders.py      the encoders of texts and of frames

`plan` takes the first way that fits, in a plan for people and in a run alike.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from ltx_core.errors import OutOfMemory

if TYPE_CHECKING:
    import torch

GIB = 2**30
CONTEXT_BYTES = int(0.75 * GIB)
"""Of a card's memory, what CUDA's context, its modules and a desktop take before PyTorch's first tensor."""
MEMINFO = Path("/proc/meminfo")

Options = TypeVar("Options")


@dataclass(frozen=True)
class Estimate:
    """Bytes by what takes them."""

    terms: Mapping[str, int]
    """Device memory at the peak; adds up to it."""
    lasting: frozenset[str] = frozenset()
    """The terms that are there between steps too."""
    host_bytes: int = 0
    """Page-locked memory, or file, of offloaded weights, and of activations."""
    reserve_bytes: int = 0
    """Beside the peak: what the allocator holds beyond the tensors, and what the arithmetic may miss."""

    @property
    def peak_bytes(self) -> int:
        """Of PyTorch's allocator; the process takes CUDA's own context beside it."""
        return sum(self.terms.values())

    @property
    def needed_bytes(self) -> int:
        """The peak and the reserve."""
        return self.peak_bytes + self.reserve_bytes

    def fits(self, budget_bytes: int) -> bool:
        """Return whether so many bytes of a device are enough."""
        return self.needed_bytes <= budget_bytes

    @property
    def resident_bytes(self) -> int:
        """Between two steps."""
        return sum(self.terms[name] for name in self.lasting)

    def describe(self, smallest: int = 2**26) -> str:
        """The larger terms, largest first, in GiB."""
        parts = sorted(self.terms.items(), key=lambda item: -item[1])
        return ", ".join(f"{name} {taken / GIB:.2f}" for name, taken in parts if taken >= smallest)


class Component(Protocol[Options]):
    """A part of the pipeline with something to do on a device, in one of several ways."""

    def ways(self) -> Iterable[Options]:
        """The ways, the fastest first; one alone is what was asked for, fit or not."""
        ...

    def estimate(self, options: Options) -> Estimate:
        """The memory that one way takes."""
        ...

    def why(self, options: Options, budget_bytes: int) -> str:
        """The way and its memory in words, for people."""
        ...

    def refusal(self, least: Options, budget_bytes: int) -> str:
        """The error's words where not even the leanest way fits: what it takes, and what would help."""
        ...


@dataclass(frozen=True)
class Plan(Generic[Options]):
    """The way that was chosen."""

    options: Options
    estimate: Estimate
    why: str


def plan(component: Component[Options], budget_bytes: int) -> Plan[Options]:
    """Choose the fastest way that fits so many bytes of a device.

    Raises:
        OutOfMemory: no way fits, and there are several.
    """
    ways = list(component.ways())
    tried: list[tuple[Options, Estimate]] = []
    for options in ways:
        estimate = component.estimate(options)
        if estimate.fits(budget_bytes) or len(ways) == 1:
            return Plan(options, estimate, component.why(options, budget_bytes))
        tried.append((options, estimate))
    least, _ = min(tried, key=lambda one: one[1].peak_bytes)
    raise OutOfMemory(component.refusal(least, budget_bytes))


def usable_bytes(gpu_gib: float) -> int:
    """Return what PyTorch can have of a card of that size."""
    return round(gpu_gib * GIB) - CONTEXT_BYTES


def free_bytes(device: "torch.device") -> int:
    """Memory that a device can still give: on a GPU free memory and PyTorch's unused reserve, else the host's."""
    if device.type == "cuda":
        import torch  # not above: `plan` works without it, and without a device

        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return available_bytes()


def available_bytes() -> int:
    """Host memory that programs can still have."""
    if MEMINFO.exists():
        lines = dict(line.split(":") for line in MEMINFO.read_text(encoding="ascii").splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def card_gib() -> float | None:
    """Memory of the smallest NVIDIA card here, as its driver's tool says; None where there is no such tool or card."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    sizes = [int(line) for line in told.splitlines() if line.strip().isdecimal()]
    return min(sizes) / 1024 if sizes else None
