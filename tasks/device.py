"""Which device a GPU stage runs on."""

from ltx_core.errors import ConfigError
from tasks.shared import MemoryConfig


def device_name(memory: MemoryConfig) -> str:
    """`cuda` or `cpu`.

    Raises:
        ConfigError: `cuda` was asked for and there is none.
    """
    import torch

    available = torch.cuda.is_available()
    if memory.device == "cuda" and not available:
        raise ConfigError(
            "memory.device is cuda, but PyTorch finds no GPU; check the driver, or set memory.device: auto"
        )
    return "cuda" if memory.device != "cpu" and available else "cpu"
