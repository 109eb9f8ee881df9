"""What a command is: a module of this package that is imported when the command is given, and not for `--help`."""

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType


@dataclass(frozen=True)
class Command:
    """One word of the command line. Its module has `run(args)`, and `arguments(parser)` if it takes any."""

    name: str
    summary: str

    def load(self) -> None:
        """Import its module, and what ends every command."""
        import_module(f"flows.commands.{self.name}")
        import_module("tasks.death")

    def arguments(self, parser: ArgumentParser) -> None:
        """Add what it takes."""
        if hasattr(self._module, "arguments"):
            self._module.arguments(parser)

    def run(self, args: Namespace) -> int:
        """Do it; gives the exit code."""
        code: int = self._module.run(args)
        return code

    @property
    def _module(self) -> ModuleType:
        return import_module(f"flows.commands.{self.name}")
