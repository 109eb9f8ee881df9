"""What a benchmark found, as a line of JSON: in a file, and on the screen at once, so that no cut-short run is lost."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def machine() -> dict[str, str]:
    """What it was measured on, and when."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"date": time.strftime("%Y-%m-%d"), "gpu": gpu, "torch": torch.__version__}


def say(part: str, found: Mapping[str, Any], out: Path | None = None) -> None:
    """Print a line of `part`, and append it to the results; what is found may say itself what it was measured on."""
    line = json.dumps({"part": part, **machine(), **found}) + "\n"
    sys.stdout.write(line)
    sys.stdout.flush()
    if out is not None:
        with out.open("a", encoding="utf-8") as file:
            file.write(line)
