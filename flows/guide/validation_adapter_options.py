"""Options of the guide on adapters that validation renders are made with. They read steps and guidance."""

from pathlib import PurePath
from typing import Any

from flows.guide.option import Draft, Option, Refused
from flows.guide.take import number, text

DISTILLED_STEPS = 8
FAST = {"schedule": "distilled", "num_steps": DISTILLED_STEPS, "video_cfg": 1, "audio_cfg": 1}
"""What the distilled adapter is made for."""


def _adapter(draft: Draft, _key: str, value: Any) -> None:
    """With its name and strength, which are options of their own there."""
    own = {
        "label": draft.flat.get("validation_adapter_name"),
        "strength": draft.flat.get("validation_adapter_strength"),
    }
    given = {name: one for name, one in own.items() if one not in (None, "")}
    _add_runs(draft, [_run({"path": text(value), **given}) if given else text(value)])


def _of_the_path(draft: Draft, key: str, _value: Any) -> None:
    if not draft.flat.get("validation_adapter_path"):
        draft.notice(key, "has no effect without validation_adapter_path")


def _adapter_runs(draft: Draft, _key: str, value: Any) -> None:
    runs = value if isinstance(value, list) else [value]
    _add_runs(draft, [_run(run) for run in runs])


def _run(run: Any) -> Any:
    """Their names of a run's parts, in ours."""
    if isinstance(run, str):
        return run
    if not isinstance(run, dict):
        raise Refused(f"has {run!r}; a run is wanted: its `label`, and `path` or `adapters`")
    parts = dict(run)
    name = parts.pop("label", None) or parts.pop("name", None) or parts.pop("adapter_name", None)
    strength = number(parts.pop("strength", 1.0))
    found = next((parts.pop(part) for part in ("adapters", "paths", "path") if part in parts), None)
    if parts or not found:
        raise Refused(f"has {run!r}; a run has a `label`, `path`, `paths` or `adapters`, and a `strength`")
    files = [_file(file, strength) for file in (found if isinstance(found, list) else [found])]
    return {"name": name or _stem(files[0].get("hub") or files[0]["path"]), "adapters": files}


def _file(file: Any, strength: float) -> dict[str, Any]:
    where = file if isinstance(file, str) else file.get("path", "") if isinstance(file, dict) else ""
    if not where:
        raise Refused(f"names {file!r}; a path or `owner/name:weights.safetensors` is wanted")
    own = strength if isinstance(file, str) else number(file.get("strength", strength))
    return {"hub" if ":" in where else "path": where, "strength": own}


def _stem(where: str) -> str:
    return PurePath(where.rpartition(":")[2]).stem


def _add_runs(draft: Draft, runs: list[Any]) -> None:
    """The guide's fast recipe is told from its steps, guidance and file, and gets the schedule it is made for."""
    fast = draft.get("render_validation.num_steps") == DISTILLED_STEPS and draft.get("render_validation.video_cfg") == 1
    for run in runs:
        known = draft.get("render_validation.adapters") or []
        if fast and "distilled" in str(run):
            named = run if isinstance(run, dict) else {"name": _stem(run), "adapters": [run]}
            draft.set("render_validation.adapters", [*known, named | FAST])
        else:
            draft.set("render_validation.adapters", [*known, run])


def _mode(draft: Draft, _key: str, value: Any) -> None:
    if value not in ("adapter_only", "comparison", "none"):
        raise Refused(f"is {value!r}; adapter_only, comparison or none is wanted")
    if value == "none":
        draft.values.get("render_validation", {}).pop("adapters", None)
    elif value == "adapter_only":
        draft.set("render_validation.render_without_adapters", False)


OPTIONS = (
    Option(
        key="validation_adapter_path",
        take=_adapter,
        does="`render_validation.adapters`: one run with the adapter, from a file or `owner/name:weights.safetensors`.",
        differs="With 8 steps, guidance 1 and a distilled adapter its run gets the distilled schedule.",
        test="tests/unit/flows/test_render_options.py::test_one_adapter_is_a_text",
    ),
    *(
        Option(
            key=f"validation_adapter_{part}",
            take=_of_the_path,
            does=f"The `{part}` of the run that `validation_adapter_path` makes.",
            differs="nothing",
            test="tests/unit/guide/test_other_options.py::test_value_goes_where_the_table_says",
        )
        for part in ("name", "strength")
    ),
    Option(
        key="validation_adapter_config",
        take=_adapter_runs,
        does="`render_validation.adapters`: several runs, each with `label`, `path` or `adapters`, and `strength`.",
        differs="Runs may differ in steps and guidance, too.",
        test="tests/unit/flows/test_render_options.py::test_runs_of_several_adapters",
    ),
    Option(
        key="validation_adapter_mode",
        take=_mode,
        does="`adapter_only` renders with adapters alone, `comparison` without them as well, `none` leaves them out.",
        differs="nothing",
        test="tests/unit/guide/test_options.py::test_value_goes_where_the_table_says",
    ),
)
