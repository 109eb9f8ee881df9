"""`ltx2-lora docs`: write the files that are made from declarations; a test compares them."""

from argparse import Namespace
from pathlib import Path

from rich.console import Console

from flows.commands.command import Command, no_arguments
from flows.describe import generated_files
from ltx_core.files.atomic import write_bytes


def _run(_args: Namespace) -> int:
    root = Path.cwd()
    for name, text in generated_files().items():
        write_bytes(root / name, text.encode())
        Console().print(f"wrote {name}")
    return 0


COMMAND = Command(name="docs", summary="write the generated docs and prefect.yaml", arguments=no_arguments, run=_run)
