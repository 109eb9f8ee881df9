"""`ltx2-lora`: the command line. Errors a user can cause are one message on standard error and exit code 1.

To add a command: write a function in a module of this package, with the types and helps of what it takes, and add it
to `COMMANDS`. The summaries are here because `--help` shows them all, and importing all modules takes a second.
"""

import functools
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, NoReturn, cast

import typer
from typer.core import TyperCommand, TyperGroup

from flows.signals import Ended, ended_by_signals, lasting_output
from ltx_core.errors import LtxError, Stopped
from ltx_core.io.atomic import is_full_disk

PROGRAM = "ltx2-lora"
STOPPED_EXIT = 128 + signal.SIGTERM
PLAIN: dict[str, Any] = {"context_settings": {"help_option_names": ["-h", "--help"]}, "rich_markup_mode": None}
"""Help as plain text: importing Rich for its boxes takes longer than all else that `--help` does."""

Function = Callable[..., int | None]
"""Does what a command is for, and gives the exit code; None is 0."""


@dataclass(frozen=True)
class Command:
    """One word of the command line."""

    name: str
    place: str
    """Module of this package, and function, such as `run:plan`."""
    group: str
    """Title under which `--help` lists it."""
    summary: str
    hidden: bool = False
    """Neither listed in `--help` nor completed by a shell."""

    def function(self) -> Function:
        """Import its module, and what ends every command."""
        import_module("tasks.runtime.launch")
        module, _, name = self.place.partition(":")
        function: Function = getattr(import_module(f"flows.cli.{module}"), name)
        return function

    def load(self) -> TyperCommand:
        """The command with all that it takes."""
        app = typer.Typer(add_completion=False, **PLAIN)
        app.command(self.name, help=self.summary)(_called(self.function()))
        return cast(TyperCommand, typer.main.get_command(app))


COMMANDS = (
    Command(
        "tiny",
        "start:tiny",
        "Get started",
        "Write a tiny trained model, footage of things new to it, and a configuration.",
    ),
    Command(
        "miniature",
        "start:miniature",
        "Get started",
        "Write a miniature model with footage and a configuration.",
    ),
    Command("configure", "start:configure", "Get started", "Ask a few questions and write a configuration."),
    Command("plan", "run:plan", "Run", "Show what a run would do, and why."),
    Command("run", "run:run", "Run", "Run the pipeline in this terminal: footage in, LoRA out."),
    Command("train", "run:run", "Run", "Another name of `run`, which SimpleTuner's guide uses.", hidden=True),
    Command("stages", "run:stages", "Look", "List the stages of the pipeline."),
    Command("verify", "workspace:verify", "Look", "Check the digests, tensors and videos of a workspace."),
    Command("up", "server:up", "Operate", "Start the Prefect server, a worker and the MLflow UI."),
    Command("down", "server:down", "Operate", "Stop what `up` started."),
    Command(
        "announce",
        "server:announce",
        "Operate",
        "Announce new footage, which starts the deployment `retrain`.",
    ),
    Command("gc", "workspace:gc", "Operate", "Delete data that none of the newest runs uses."),
    Command("docs", "start:docs", "Develop", "Write the generated pages and prefect.yaml.", hidden=True),
)


class Commands(TyperGroup):
    """Has every command's name and summary; what else a command is, is imported when it is given."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that is given, with all that it takes."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, found and named(found.name).load(), rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands by group."""
        listed = [command for command in COMMANDS if not command.hidden]
        width = max(len(command.name) for command in listed)
        for group in dict.fromkeys(command.group for command in listed):
            with formatter.section(group):
                formatter.write_dl([(one.name.ljust(width), one.summary) for one in listed if one.group == group])


def named(name: str | None) -> Command:
    """The command of that name."""
    return next(command for command in COMMANDS if command.name == name)


def _print_version(asked: bool) -> None:
    """Look it up, which takes a moment, only when it is asked for."""
    if asked:
        from importlib.metadata import version

        typer.echo(f"{PROGRAM} {version(PROGRAM)}")
        raise typer.Exit


def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """A folder of footage in, a LoRA for LTX-2 out."""


def application() -> TyperGroup:
    """All commands, none of them imported."""
    app = typer.Typer(cls=Commands, callback=_options, no_args_is_help=True, **PLAIN)
    for command in COMMANDS:
        app.command(command.name, help=command.summary, hidden=command.hidden)(lambda: None)
    return cast(TyperGroup, typer.main.get_command(app))


def import_given(words: Sequence[str]) -> None:
    """Import what the given command needs, which takes a second; nothing for `--help` alone."""
    named = next((word for word in words if not word.startswith("-")), None)
    for command in COMMANDS:
        if command.name == named:
            command.function()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code. The process boundary: no error of a user's leaves it."""
    with lasting_output() as output, ended_by_signals():
        code = _exit_code_of(sys.argv[1:] if arguments is None else arguments)
        if not output.is_whole():
            sys.stderr.write(
                "StorageError: the disk that this command's output goes to is full, and what it printed is not whole "
                "there; free some space, then run it again\n"
            )
            code = code or 1
        return code


def _exit_code_of(words: Sequence[str]) -> int:
    try:
        application().main(args=list(words), prog_name=PROGRAM)
    except SystemExit as ended:  # as typer ends, whether well or not
        return int(ended.code or 0)
    return 0


def _called(function: Function) -> Callable[..., NoReturn]:
    """The function, which ends as typer wants it: by its exit code."""

    @functools.wraps(function)
    def call(**arguments: Any) -> NoReturn:
        raise typer.Exit(carried_out(functools.partial(function, **arguments)))

    return call


def carried_out(command: Function) -> int:
    """Run the command and give its exit code. What goes wrong is said on standard error."""
    from tasks.runtime.launch import StageDied  # brings all stages with it, which `--help` does without

    try:
        return command() or 0
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
