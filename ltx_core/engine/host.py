"""What the machine has: memory of the host and of its cards, asked without torch."""

import os
import shutil
import subprocess
from pathlib import Path

MEMINFO = Path("/proc/meminfo")


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
