"""Which of PyTorch's attention kernels a GPU is asked to use first, where PyTorch's own order is not the fastest.

PyTorch asks flash attention first on some of its releases and cuDNN's on others. On Hopper cuDNN's is the faster, by
1.7 to 2.3 times where one trains; on Ampere and Blackwell it is slower (transformers, pull request 48163, 2026).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

HOPPER = 9
"""Major compute capability of an H100 or H200."""
SOUND_CUDNN = 91501
"""The first cuDNN that is right for every length of a sequence (9.15.1; PyTorch, issue 169849)."""
CUDNN_FIRST = (
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
)


@contextmanager
def fastest_attention(device: str | torch.device) -> Iterator[None]:
    """For the length of the block attention on `device` uses what is fastest there, and anything else where that
    cannot compute what is asked for."""
    order = preferred(torch.device(device))
    if order is None:
        yield
        return
    with sdpa_kernel(list(order), set_priority=True):
        yield


def preferred(device: torch.device) -> Sequence[SDPBackend] | None:
    """Kernels in the order in which they are to be asked; None for PyTorch's own order."""
    if device.type != "cuda" or torch.version.hip is not None:
        return None
    major, _ = torch.cuda.get_device_capability(device)
    cudnn = torch.backends.cudnn.version()
    return CUDNN_FIRST if major == HOPPER and cudnn is not None and cudnn >= SOUND_CUDNN else None
