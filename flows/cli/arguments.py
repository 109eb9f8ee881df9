"""Arguments that several commands take: a configuration, overrides of it, and which stages."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console

from flows.config import RunConfig, load_config
from flows.documents import parse_yaml, where_wrong
from ltx_core.errors import ConfigError
from tasks import STAGES
from tasks.tracking.address import hide_secrets

NAMES = [stage.name for stage in STAGES]


def path_argument(metavar: str, text: str) -> Any:
    """A file or folder. Whether it is there and can be read, the command finds out, whose words say what to do."""
    return typer.Argument(metavar=metavar, help=text, parser=Path, show_default=False)


def path_option(flag: str, metavar: str, text: str) -> Any:
    """The same as an option."""
    return typer.Option(flag, metavar=metavar, help=text, parser=Path)


def one_of(names: Iterable[str], flag: str, text: str, metavar: str | None = None) -> Any:
    """An option that takes one of some names; a shell completes them."""
    known = tuple(names)

    def parsed(name: str) -> str:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(known)}.")
        return name

    shown = metavar or f"<{'|'.join(known)}>"
    return typer.Option(flag, metavar=shown, help=text, parser=parsed, autocompletion=lambda: list(known))


ConfigPath = Annotated[Path, path_argument("CONFIG", "Configuration file, YAML or JSON.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Replace an option, such as train_lora.steps=500; repeatable."),
]
Only = Annotated[str | None, one_of(NAMES, "--only", "Run this stage alone, on the results of earlier ones.", "STAGE")]
FromStage = Annotated[str | None, one_of(NAMES, "--from", "Run this stage and all later ones.", "STAGE")]
Force = Annotated[bool, typer.Option("--force", help="Run the selected stages again, even if they are up to date.")]


def read_overrides(overrides: Sequence[str] | None) -> dict[str, Any]:
    """Dotted options and their values, read as YAML.

    Raises:
        ConfigError: one is not NAME=VALUE.
    """
    values = {}
    for text in overrides or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {hide_secrets(text)!r} is not NAME=VALUE, such as --set train_lora.steps=500")
        try:
            values[name] = parse_yaml(value)
        except (ValueError, yaml.YAMLError) as error:
            raise ConfigError(f"--set {hide_secrets(text)!r}: the value is not YAML: {where_wrong(error)}") from error
    return values


def read_config(path: Path, overrides: Sequence[str] | None) -> RunConfig:
    """The configuration that the arguments name.

    Raises:
        ConfigError: it cannot work.
    """
    return load_config(path, read_overrides(overrides))


def print_warnings(console: Console, warnings: Iterable[str]) -> None:
    """Print lines on what is probably not intended, or done differently than a file says."""
    for warning in warnings:
        console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False, soft_wrap=True)
