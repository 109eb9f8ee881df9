"""What tests of one process share without meaning to: switches of PyTorch, the working directory, the environment."""

import os
import sys
from pathlib import Path
from typing import Any

NOT_OURS = ("PYTEST_", "TORCHINDUCTOR_CACHE_DIR", "_TORCHINDUCTOR_")
"""Beginnings of variables that pytest changes from test to test, and PyTorch's compiler sets when it first runs."""


def process_state() -> dict[str, Any]:
    """Those that are looked at, by name; PyTorch's once it is loaded, since loading it for this would take seconds.
    Random generators are not among them: tests seed their own."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
    torch = sys.modules.get("torch")
    return {"working directory": Path.cwd(), "environment": variables} | ({} if torch is None else _switches(torch))


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """A line for each part that was there before and is another now."""
    return [
        f"{name}: {_changed(was, after[name])}" for name, was in before.items() if name in after and after[name] != was
    ]


def _switches(torch: Any) -> dict[str, Any]:
    """Those that change numbers, or where tensors are made."""
    cuda = torch.backends.cuda
    return {
        "attention kernels": (
            cuda.flash_sdp_enabled(),
            cuda.mem_efficient_sdp_enabled(),
            cuda.math_sdp_enabled(),
            cuda.cudnn_sdp_enabled(),
        ),
        "order of attention kernels": tuple(torch._C._get_sdp_priority_order()),
        "deterministic kernels": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        "threads": torch.get_num_threads(),
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "oneDNN": torch.backends.mkldnn.enabled,
        "float32 products": (cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision),
        "cuDNN": (torch.backends.cudnn.benchmark, torch.backends.cudnn.conv.fp32_precision),
        "denormal numbers": bool(torch.full((1,), 1e-40, device="cpu", dtype=torch.float32).mul(1)),
    }


def _changed(was: Any, now: Any) -> str:
    if not isinstance(was, dict):
        return f"{was} -> {now}"
    names = sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name))
    return ", ".join(f"{name}: {was.get(name)!r} -> {now.get(name)!r}" for name in names)
