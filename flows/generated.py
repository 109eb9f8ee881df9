"""Files that are made from declarations: docs, project files, and Prefect's deployments."""

from collections.abc import Iterable, Iterator
from typing import Any, get_args, get_origin

import typer
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from datasets_spec.options import section
from flows.config import RunConfig
from flows.simpletuner.table import Row, table, tips
from tasks import STAGES
from tasks.runtime.stage import Stage

STORE = "ltx2-lora"
FOOTAGE_EVENT = "ltx2.footage.added"
HEADER = "# Made by `ltx2-lora docs`; edit flows/generated.py instead. A test compares.\n"


def prefect_yaml() -> str:
    """The project file that `prefect deploy --all` reads."""
    project = {
        "name": "ltx2-lora",
        "deployments": [_whole(), _retrain(), *(_stage(stage) for stage in STAGES)],
    }
    return HEADER + yaml.safe_dump(project, sort_keys=False, width=120)


def _deployment(name: str, entrypoint: str, description: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "entrypoint": entrypoint,
        "description": description,
        "tags": ["ltx2-lora"],
        "work_pool": {"name": STORE},
        "enforce_parameter_schema": False,  # the run itself says what is wrong, in better words
        **more,
    }


def _whole() -> dict[str, Any]:
    weekly = {"cron": "0 3 * * 1", "timezone": "UTC", "slug": "weekly", "active": False}
    text = "Footage to LoRA, all stages; reuses what did not change."
    return _deployment("ltx2-lora", "flows/flows.py:ltx2_lora", text, schedules=[weekly])


def _retrain() -> dict[str, Any]:
    trigger = {
        "type": "event",
        "enabled": True,
        "expect": [FOOTAGE_EVENT],
        "match": {"prefect.resource.id": "ltx2.footage.*"},
        "parameters": {"config": "{{ event.payload.config }}"},
    }
    text = "Does nothing unless footage changed; started by the event that footage was added."
    return _deployment("retrain", "flows/flows.py:retrain", text, triggers=[trigger])


def flow_attribute(stage: Stage[Any, Any]) -> str:
    """Name under which flows/flows.py holds the flow of a stage."""
    return f"stage_{stage.name}"


def _stage(stage: Stage[Any, Any]) -> dict[str, Any]:
    text = f"The stage {stage.name} alone."
    return _deployment(f"stage-{stage.name}", f"flows/flows.py:{flow_attribute(stage)}", text)


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


KEYS = (
    "A stage runs again when its key changes. The key depends on the settings of the stage, on the results of the",
    "stages that it needs, on the versions of the stage and of the parts of the program that it uses, and on what it",
    "looks at:",
)


def stages_page() -> str:
    """The table of stages."""
    lines = ["# Stages", "", "| stage | does | needs | makes | device |", "|---|---|---|---|---|"]
    for s in STAGES:
        needs = ", ".join((*s.needs, *(f"{name} if on" for name in s.uses))) or "-"
        lines.append(f"| `{s.name}` | {s.summary.strip()} | {needs} | {s.makes.__name__} | {s.device} |")
    lines += ["", *KEYS, "", "| stage | looks at | settings that change no result |", "|---|---|---|"]
    for s in STAGES:
        looks_at = " ".join(str(type(s).observe.__doc__).split("\n\n")[0].split())
        free = ", ".join(f"`{name}`" for name in sorted(s.not_in_key)) or "-"
        lines.append(f"| `{s.name}` | {looks_at} | {free} |")
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
            may_be_missing = not isinstance(field.annotation, type)  # a list may be empty
            if field.description and may_be_missing:
                yield f"{prefix}{name}", _default(field.default), (field.description or "").replace("|", "\\|")
            yield from options(inner, f"{prefix}{name}{many}.")


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that an option is or has, those that a mapping has by names of the user's among them."""
    return next((a for a in get_args(annotation) if section(a) is a), None) or section(annotation)


def _default(value: Any) -> str:
    return "required" if value is PydanticUndefined else f"`{value}`" if value not in ("", None) else "none"


def commands_page() -> str:
    """The help of every command that `--help` lists, as wide as a page."""
    from flows.cli.app import COMMANDS, PROGRAM

    parts = ["# Commands", ""]
    for command in COMMANDS:
        if not command.hidden:
            loaded = command.load()
            context = typer.Context(
                loaded, info_name=f"{PROGRAM} {command.name}", terminal_width=110, **loaded.context_settings
            )
            parts += [f"## {command.name}", "", "```", loaded.get_help(context).strip(), "```", ""]
    return "\n".join(parts).rstrip() + "\n"


GUIDE_INTRODUCTION = """\
# The guide, row by row

What SimpleTuner's quickstart for LTX-2 names, and what it is here. Its `config.json` and `multidatabackend.json` are
read as they are: `ltx2-lora plan config.json` says what is done differently, `ltx2-lora train config.json` trains,
`ltx2-lora configure --guide config.json` writes the same as our YAML. Options may have leading dashes. One that is not
in these tables is refused with the nearest name. What is not built yet is refused where it is switched on.

Where a row names a test of behaviour, that its value gets there is held by
`tests/unit/flows/simpletuner/test_options.py` and `test_datasets.py` beside it. Made by `ltx2-lora docs` from the
tables in `flows/simpletuner/`; a test compares.
"""


def guide_page() -> str:
    """The page."""
    parts = [GUIDE_INTRODUCTION]
    for title, rows in tips().items():
        parts.append(_guide_table(title, "guide", ((tip.what, tip) for tip in rows)))
    for title, options in table("options").sections.items():
        named = ((f"`{option.key}`", option) for option in options)
        parts.append(_guide_table(f"Options: {title[0].lower()}{title[1:]}", "option", named))
    of_datasets = table("datasets").options.items()
    parts.append(_guide_table("Options of a dataset", "option", ((f"`{key}`", option) for key, option in of_datasets)))
    return "\n".join(parts)


def _guide_table(title: str, first: str, rows: Iterable[tuple[str, Row]]) -> str:
    lines = [f"## {title}", "", f"| {first} | here | what differs and why | tested by |", "|---|---|---|---|"]
    for name, row in rows:
        path, _, function = row.test.partition("::")
        cells = (name, row.does, row.differs, f"`{path.removeprefix('tests/')}` {function.replace('_', ' ')}")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
