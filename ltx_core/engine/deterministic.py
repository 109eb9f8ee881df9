"""Kernels that add in the same order at every run, so that a GPU's results are the same to the bit.

By default some of a GPU's kernels let threads add as they come, cuDNN's attention backward among them. Flash
attention's and the plain one have an order if asked for.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

ENVIRONMENT = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "TORCHINDUCTOR_DETERMINISTIC": "1"}
"""cuBLAS without workspaces that streams share; no kernel chosen by how long it took (PyTorch's notes on
reproducibility)."""


def set_environment() -> None:
    """For this process and its children, before diffusers is imported: with it PyTorch's compiler reads its part."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@contextmanager
def deterministic_kernels() -> Iterator[None]:
    """PyTorch uses no other kernels for the length of the block, and raises RuntimeError where it has none."""
    before = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)
