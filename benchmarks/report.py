"""Write docs/benchmarks.md from what the benchmark scripts printed: `python benchmarks/report.py`.

Each file in benchmarks/results holds JSON lines exactly as a script printed them on the machine that it names.
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
COMMON = ("part", "date", "gpu", "torch")
HEADER = """# Benchmarks

Made by `python benchmarks/report.py` from `benchmarks/results/`; a test compares. Full-size models with random weights.
`17` is 480x832x17 with batch 2, `121` is 512x768x121 with batch 1. What was tried in vain: [LOG.md](dev/LOG.md).
"""


def main() -> int:
    """Write the page."""
    PAGE.write_text(page())
    return 0


def page() -> str:
    """The page's text."""
    lines = [HEADER]
    for file in sorted(RESULTS.glob("*.jsonl"), reverse=True):
        for result in gathered([json.loads(line) for line in file.read_text().splitlines() if line]):
            lines += section(result)
    return "\n".join(lines).rstrip() + "\n"


def gathered(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines that are one row each (they have a `row`) as one result; the others as they are."""
    found: list[dict[str, Any]] = []
    for result in results:
        if "row" not in result:
            found.append(result)
            continue
        common = {name: result[name] for name in COMMON}
        rows = {name: value for name, value in result.items() if name not in COMMON}
        if not found or {name: found[-1].get(name) for name in COMMON} != common:
            found.append({**common, "rows": []})
        found[-1]["rows"].append(rows)
    return found


def section(row: dict[str, Any]) -> list[str]:
    """One result: what was measured, on what, and every figure."""
    title = f"## {row['part']}: {row['gpu']}, torch {row['torch']}, {row['date']}"
    plain = {name: value for name, value in row.items() if name not in (*COMMON, "rows")}
    figures = ["| figure | value |", "|---|---|", *(f"| {name} | {readable(value)} |" for name, value in plain.items())]
    return [title, "", *([*figures, ""] if plain else []), *table(row.get("rows", []))]


def table(rows: list[dict[str, Any]]) -> list[str]:
    """A result of many rows."""
    if not rows:
        return []
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return [*lines, *("| " + " | ".join(readable(row.get(name, "")) for name in columns) + " |" for row in rows), ""]


def readable(value: Any) -> str:
    """Three digits that matter."""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    sys.exit(main())
