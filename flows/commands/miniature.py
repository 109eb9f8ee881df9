"""`ltx2-lora miniature DIR`: a toy LTX-2 of the real architecture, a corpus of media files, and a configuration."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rich.console import Console

from flows.miniature_config import write_config


def arguments(parser: ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="where to write it; made if it does not exist")
    parser.add_argument("--generation", choices=("2.0", "2.3", "2.5"), default="2.0", help="which LTX-2 (default 2.0)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random weights (default 0)")


def run(args: Namespace) -> int:
    """Write all three."""
    from ltx_core.miniature.write import write_miniature

    made = write_miniature(args.folder, generation=args.generation, seed=args.seed)
    config = write_config(args.folder, made)
    console = Console()
    console.print(
        f"model    {made.checkpoint}\nGemma    {made.text_encoder}\nfootage  {made.footage}\nconfig   {config}"
    )
    console.print(f"next: ltx2-lora run {config}", style="bold")
    return 0
