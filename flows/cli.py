"""`ltx2-lora`: the command line. Errors a user can cause are one message on standard error and exit code 1."""

import argparse
import signal
import sys
from collections.abc import Sequence

from flows.commands import COMMANDS
from flows.lasting import lasting_output
from flows.signals import Ended, ended_by_signals
from ltx_core.errors import LtxError, Stopped
from ltx_core.files.atomic import is_full_disk
from tasks.death import StageDied

STOPPED_EXIT = 128 + signal.SIGTERM


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
    with lasting_output() as output, ended_by_signals():
        code = _run(parser().parse_args(arguments))
        if not output.is_whole():
            sys.stderr.write(
                "StorageError: the disk that this command's output goes to is full, and what it printed is not whole "
                "there; free some space, then run it again\n"
            )
            code = code or 1
        return code


def _run(args: argparse.Namespace) -> int:
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
    except OSError as error:
        if not is_full_disk(error):
            raise
        where = f"of {error.filename}" if error.filename else "that this command writes to"
        sys.stderr.write(f"StorageError: the disk {where} is full; free some space, then run again\n")
        return 1
    except KeyboardInterrupt as interrupt:
        sys.stderr.write("interrupted; what was finished is kept, run again to go on\n")
        return 128 + (interrupt.number if isinstance(interrupt, Ended) else signal.SIGINT)
    return code


if __name__ == "__main__":
    sys.exit(main())
