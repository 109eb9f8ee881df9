"""`ltx2-lora`: the command line. Errors a user can cause are one message on standard error and exit code 1."""

import argparse
import sys
from collections.abc import Sequence

from flows.commands import COMMANDS
from ltx_core.errors import LtxError, Stopped
from tasks.launch import StageDied

INTERRUPTED_EXIT = 130
STOPPED_EXIT = 143


def parser() -> argparse.ArgumentParser:
    """All commands."""
    top = argparse.ArgumentParser(prog="ltx2-lora", description="A folder of footage in, a LoRA for LTX-2 out.")
    subparsers = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        sub = subparsers.add_parser(command.name, help=command.summary, description=command.summary)
        command.arguments(sub)
        sub.set_defaults(run=command.run)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the process boundary of the command line."""
    args = parser().parse_args(arguments)
    try:
        code: int = args.run(args)
    except Stopped as stopped:
        sys.stderr.write(f"{stopped}\n")
        return STOPPED_EXIT
    except LtxError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    except StageDied as defect:  # its message has the traceback of the process that it lies in
        sys.stderr.write(f"{defect}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was finished is kept, run again to go on\n")
        return INTERRUPTED_EXIT
    return code


if __name__ == "__main__":
    sys.exit(main())
