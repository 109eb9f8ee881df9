"""What came of each disturbance, and a table of all: `python -m scripts.chaos.page CASES.jsonl ... > docs/chaos.md`."""

import datetime
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

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


@dataclass(frozen=True)
class Case:
    """One disturbance.

    Attributes:
        what: What was done, with its random choices.
        problem: What was wrong afterwards; empty where nothing was.
        first_stage: Seconds until the next run's first stage.
        message: The one line in which the next run ended, where that was right too.
    """

    what: str
    problem: str
    first_stage: float = 0.0
    message: str = ""


@dataclass
class Tally:
    """All disturbances of one kind."""

    kind: str
    cases: list[Case] = field(default_factory=list)

    @property
    def wrong(self) -> list[Case]:
        return [case for case in self.cases if case.problem]


HEADER = "| disturbance | how often | then the undisturbed bytes | then one message | wrong | slowest first stage, s |"


def table(tallies: Iterable[Tally]) -> list[str]:
    """Markdown rows, one a kind."""
    lines = [HEADER, "|---|---|---|---|---|---|"]
    for tally in tallies:
        messages = sum(bool(case.message) and not case.problem for case in tally.cases)
        slowest = max((case.first_stage for case in tally.cases), default=0.0)
        right = len(tally.cases) - len(tally.wrong) - messages
        lines.append(
            f"| {tally.kind} | {len(tally.cases)} | {right} | {messages} | {len(tally.wrong)} | {slowest:.1f} |"
        )
    return lines


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
