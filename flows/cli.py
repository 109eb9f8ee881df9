"""`ltx2-lora`: the command line. Errors a user can cause are one message on standard error and exit code 1."""

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from flows.commands import COMMANDS
from flows.lasting import lasting_output
from flows.signals import Ended, ended_by_signals
from ltx_core.errors import LtxError, Stopped
from ltx_core.files.atomic import is_full_disk

STOPPED_EXIT = 128 + signal.SIGTERM


def given(words: Sequence[str]) -> str | None:
    """The command's name, if one is given."""
    return next((word for word in words if not word.startswith("-")), None)


def import_given(words: Sequence[str]) -> None:
    """Import what the given command needs, which takes a second; nothing for `--help` alone."""
    for command in COMMANDS:
        if command.name == given(words):
            command.load()


def parser(name: str | None) -> argparse.ArgumentParser:
    """All commands, and the arguments of the one of that name: the modules of others are not even imported."""
    top = argparse.ArgumentParser(prog="ltx2-lora", description="A folder of footage in, a LoRA for LTX-2 out.")
    top.add_argument("--version", action=_Version, nargs=0, help="say which version this is, and exit")
    subparsers = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        sub = subparsers.add_parser(command.name, help=command.summary, description=command.summary)
        if command.name == name:
            command.arguments(sub)
        sub.set_defaults(run=command.run)
    return top


class _Version(argparse.Action):
    """Looked up when it is asked for, which `--help` need not wait for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        sys.stdout.write(f"{parser.prog} {version(parser.prog)}\n")
        parser.exit()


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the process boundary of the command line."""
    words = sys.argv[1:] if arguments is None else arguments
    with lasting_output() as output, ended_by_signals():
        code = _run(parser(given(words)).parse_args(words))
        if not output.is_whole():
            sys.stderr.write(
                "StorageError: the disk that this command's output goes to is full, and what it printed is not whole "
                "there; free some space, then run it again\n"
            )
            code = code or 1
        return code


def _run(args: argparse.Namespace) -> int:
    from tasks.death import StageDied  # brings all stages with it, which `--help` does without

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
