"""Which device a GPU stage runs on, and with how many CPU threads."""

from typing import TYPE_CHECKING

from ltx_core.engine.host import card_gib
from ltx_core.errors import ConfigError
from tasks.shared import MemoryConfig

if TYPE_CHECKING:
    import torch


def prepare_device(memory: MemoryConfig) -> str:
    """Set PyTorch up for this process; gives `cuda` or `cpu`.

    Raises:
        ConfigError: `cuda` was asked for and there is none.
    """
    import torch

    if memory.cpu_threads is not None:
        torch.set_num_threads(memory.cpu_threads)
    available = torch.cuda.is_available()
    if memory.device == "cuda" and not available:
        raise ConfigError(
            "memory.device is cuda, but PyTorch finds no GPU; check the driver, or set memory.device: auto"
        )
    return "cuda" if memory.device != "cpu" and available else "cpu"


def planned_card(memory: MemoryConfig) -> float | None:
    """GiB of the GPU to plan for: `memory.gpu_gib`, else this machine's; None where stages run on the CPU."""
    return None if memory.device == "cpu" else memory.gpu_gib or card_gib()


def num_devices(memory: MemoryConfig) -> int:
    """GPUs that this process sees; 1 where it works on the CPU.

    Raises:
        ConfigError: `cuda` was asked for and there is none.
    """
    import torch

    return torch.cuda.device_count() if prepare_device(memory) == "cuda" else 1


def torch_dtype(name: str) -> "torch.dtype":
    """The precision that a `dtype` option names: `bf16` or `fp32`."""
    import torch

    return {"bf16": torch.bfloat16, "fp32": torch.float32}[name]
