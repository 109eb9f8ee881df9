"""What came of each disturbance, and the table of all."""

from collections.abc import Iterable
from dataclasses import dataclass, field


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
