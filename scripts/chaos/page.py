"""Make docs/chaos.md of one or more lists of cases: `python -m scripts.chaos.page CASES.jsonl ... > docs/chaos.md`."""

import datetime
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

from scripts.chaos.verdict import Case, Tally, table

INTRODUCTION = """\
# Chaos: what was done to runs, and what the next run made of it

`python -m scripts.chaos` disturbs runs at random on a miniature model: it kills them and their services, replaces
footage while it is read, fills the disk, damages files of the workspace and collects garbage under a run. After each
disturbance the next run must start its first stage within ten seconds, and end either in the bytes of an undisturbed
run or in one message that says what to do, without having stored anything wrong. A damaged file that the run had no
need of may stay as it is, if `verify --repair` finds it and takes it away; such cases are counted with the messages. In
all other cases the result is wrong, for example if the next run ends with a traceback, hangs, or stores a wrong byte.
The seed of a case repeats it. A few cases with fixed seeds are part of `make test-all`.

Wrong cases stay in the table. For each of them the fault was corrected and a test was added. Then the same kind of
disturbance was run again, on the commits that the list below names after the commit of the wrong case.
"""


def main() -> int:
    """Print the page."""
    tallies: dict[str, Tally] = {}
    examples: dict[str, list[str]] = defaultdict(list)
    commits: Counter[str] = Counter()
    for name in sys.argv[1:]:
        for line in Path(name).read_text().splitlines():
            fields = json.loads(line)
            kind, seed = fields.pop("kind"), fields.pop("seed")
            commits[commit := fields.pop("commit")] += 1
            case = Case(**fields)
            tallies.setdefault(kind, Tally(kind)).cases.append(case)
            if case.problem:
                examples[kind].append(f"- `{seed}` at {commit}: {case.what[:200]}: {case.problem[:160]}")
    date = datetime.datetime.now(datetime.UTC).date()
    on = ", ".join(f"{commit} ({number} cases)" for commit, number in commits.items())
    lines = [
        INTRODUCTION,
        f"Run until {date}, on commits {on}.",
        "",
        *table(tallies.values()),
    ]
    for kind, wrong in examples.items():
        lines += ["", f"Wrong, {kind}:", "", *(one.replace("\n", " ") for one in wrong)]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
