"""Arguments that several commands share: a configuration, overrides, and which stages."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from flows.config import RunConfig, load_config
from flows.config_errors import where_wrong
from flows.documents import parse_yaml
from flows.selection import Selection, select
from ltx_core.errors import ConfigError
from tasks import STAGES
from tasks.address import hide_secrets

NAMES = [stage.name for stage in STAGES]


def add_config(parser: ArgumentParser) -> None:
    """A configuration file and `--set a.b=value`."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="configuration file, YAML or JSON")
    add_overrides(parser)


def add_overrides(parser: ArgumentParser) -> None:
    """`--set a.b=value`."""
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="replace an option, as in train_lora.steps=500"
    )


def add_selection(parser: ArgumentParser) -> None:
    """`--only`, `--from` and `--force`."""
    parser.add_argument("--only", choices=NAMES, metavar="STAGE", help="this stage alone, on what earlier ones made")
    parser.add_argument(
        "--from", dest="from_stage", choices=NAMES, metavar="STAGE", help="this stage and all later ones"
    )
    parser.add_argument("--force", action="store_true", help="make the covered stages anew, whatever is there")


def read_overrides(args: Namespace) -> dict[str, Any]:
    """Dotted options and their values, read as YAML.

    Raises:
        ConfigError: one is not NAME=VALUE.
    """
    overrides = {}
    for text in args.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {hide_secrets(text)!r} is not NAME=VALUE, such as --set train_lora.steps=500")
        try:
            overrides[name] = parse_yaml(value)
        except (ValueError, yaml.YAMLError) as error:
            raise ConfigError(f"--set {hide_secrets(text)!r}: the value is not YAML: {where_wrong(error)}") from error
    return overrides


def read_config(args: Namespace) -> RunConfig:
    """The configuration that the arguments name.

    Raises:
        ConfigError: it cannot work.
    """
    return load_config(args.config, read_overrides(args))


def print_notices(console: Console, notices: Iterable[str]) -> None:
    """Lines on what is likely not meant, or done differently than a file says."""
    for notice in notices:
        console.print(f"notice: {notice}", style="yellow", highlight=False, markup=False, soft_wrap=True)


def read_selection(args: Namespace) -> Selection:
    """The stages that the arguments name.

    Raises:
        ConfigError: they exclude each other.
    """
    return select(args.only, args.from_stage, args.force)
