"""`ltx2-lora docs`: write the files that are made from declarations; a test compares them."""

from argparse import Namespace
from pathlib import Path

from rich.console import Console

from flows.describe import generated_files
from ltx_core.files.atomic import write_bytes


def run(_args: Namespace) -> int:
    """Write every generated file."""
    root = Path.cwd()
    for name, text in generated_files().items():
        write_bytes(root / name, text.encode())
        Console().print(f"wrote {name}")
    return 0
