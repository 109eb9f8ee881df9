"""What came of one stage in one run."""

from dataclasses import dataclass
from typing import Any

from datasets_spec import Manifest
from tasks.decide import Decision
from tasks.summary import Summary


@dataclass(frozen=True)
class StageResult:
    """A stage's manifest and counts; `built` says whether this run made it."""

    decision: Decision
    manifest: Manifest[Any]
    summary: Summary
    built: bool

    @property
    def state_name(self) -> str:
        """`Built` or `Reused`: how Prefect shows it."""
        return "Built" if self.built else "Reused"
