"""Docs and project files made from the declarations: stages, options, commands, deployments."""

from argparse import ArgumentParser, HelpFormatter
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from flows.config import RunConfig
from flows.deployments import prefect_yaml
from flows.guide.page import guide_page
from tasks import STAGES


def generated_files() -> dict[str, str]:
    """Path in the project to text, of every file that is made and not written."""
    return {
        "docs/stages.md": stages_page(),
        "docs/config.md": config_page(),
        "docs/commands.md": commands_page(),
        "docs/guide.md": guide_page(),
        "prefect.yaml": prefect_yaml(),
        "tests/repo/config_surface.txt": "".join(f"{name}\n" for name, _, _ in options(RunConfig)),
    }


def stages_page() -> str:
    """The table of stages."""
    lines = ["# Stages", "", "| stage | does | needs | makes | device |", "|---|---|---|---|---|"]
    for s in STAGES:
        needs = ", ".join((*s.needs, *(f"{name} if on" for name in s.uses))) or "-"
        lines.append(f"| `{s.name}` | {s.summary.strip()} | {needs} | {s.makes.__name__} | {s.device} |")
    return "\n".join(lines) + "\n"


def config_page() -> str:
    """Every option with its default and meaning."""
    lines = ["# Options", "", "| option | default | meaning |", "|---|---|---|"]
    lines += [f"| `{name}` | {default} | {text} |" for name, default, text in options(RunConfig)]
    return "\n".join(lines) + "\n"


def options(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Dotted name, default and description of each option, nested sections flattened."""
    for name, field in model.model_fields.items():
        inner = _section(field.annotation)
        if inner is None:
            yield f"{prefix}{name}", _default(field.default), (field.description or "").replace("|", "\\|")
        else:
            many = "[]" if get_origin(field.annotation) in (tuple, list) else ""
            if not many and not isinstance(field.annotation, type):  # may be there or not
                yield f"{prefix}{name}", _default(field.default), (field.description or "").replace("|", "\\|")
            yield from options(inner, f"{prefix}{name}{many}.")


def _section(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((a for a in get_args(annotation) if isinstance(a, type) and issubclass(a, BaseModel)), None)


def _default(value: Any) -> str:
    return "required" if value is PydanticUndefined else f"`{value}`" if value not in ("", None) else "none"


def commands_page() -> str:
    """The help of every command."""
    from flows.commands import COMMANDS

    parts = ["# Commands", ""]
    for command in COMMANDS:
        sub = ArgumentParser(prog=f"ltx2-lora {command.name}", description=command.summary)
        command.arguments(sub)
        sub.formatter_class = _fixed_width
        parts += [f"## {command.name}", "", "```", sub.format_help().strip(), "```", ""]
    return "\n".join(parts).rstrip() + "\n"


def _fixed_width(prog: str) -> HelpFormatter:
    """Help that does not depend on the terminal it is made in."""
    return HelpFormatter(prog, width=110)
