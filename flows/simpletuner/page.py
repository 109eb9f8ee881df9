"""docs/guide.md: a row for each option, feature and tip of SimpleTuner's guide."""

from collections.abc import Iterable

from flows.simpletuner.table import Row, table, tips

INTRODUCTION = """\
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
    parts = [INTRODUCTION]
    for title, rows in tips().items():
        parts.append(_table(title, "guide", ((tip.what, tip) for tip in rows)))
    for title, options in table("options").sections.items():
        named = ((f"`{option.key}`", option) for option in options)
        parts.append(_table(f"Options: {title[0].lower()}{title[1:]}", "option", named))
    of_datasets = table("datasets").options.items()
    parts.append(_table("Options of a dataset", "option", ((f"`{key}`", option) for key, option in of_datasets)))
    return "\n".join(parts)


def _table(title: str, first: str, rows: Iterable[tuple[str, Row]]) -> str:
    lines = [f"## {title}", "", f"| {first} | here | what differs and why | tested by |", "|---|---|---|---|"]
    for name, row in rows:
        path, _, function = row.test.partition("::")
        cells = (name, row.does, row.differs, f"`{path.removeprefix('tests/')}` {function.replace('_', ' ')}")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
