"""What a stage's child process tells its task, one JSON object a line."""

import json
from collections.abc import Mapping
from typing import Any, Protocol


class Listener(Protocol):
    """Whoever wants to know how a stage is going: a terminal, a Prefect artifact, an MLflow run."""

    def started(self, stage: str, why: str) -> None:
        """The stage's child is about to start."""

    def advanced(self, stage: str, done: int, total: int, unit: str) -> None:
        """`done` of `total` items are finished."""

    def measured(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Values at a step."""

    def noted(self, stage: str, message: str) -> None:
        """One line that a person should see."""


class Everyone:
    """Passes each event to several listeners, in order."""

    def __init__(self, *listeners: Listener) -> None:
        self.listeners = listeners

    def started(self, stage: str, why: str) -> None:
        """Tell all."""
        for listener in self.listeners:
            listener.started(stage, why)

    def advanced(self, stage: str, done: int, total: int, unit: str) -> None:
        """Tell all."""
        for listener in self.listeners:
            listener.advanced(stage, done, total, unit)

    def measured(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Tell all."""
        for listener in self.listeners:
            listener.measured(stage, step, values)

    def noted(self, stage: str, message: str) -> None:
        """Tell all."""
        for listener in self.listeners:
            listener.noted(stage, message)


def encode(event: str, **fields: Any) -> bytes:
    """One line."""
    return json.dumps({"event": event, **fields}).encode() + b"\n"


def tell(listener: Listener, stage: str, line: bytes) -> dict[str, Any] | None:
    """Pass one line on; events that end the child are returned instead.

    Raises:
        ValueError: the line is not one of ours; only the child's reporter writes to that pipe.
    """
    fields = json.loads(line)
    match fields.pop("event"):
        case "advanced":
            listener.advanced(stage, **fields)
        case "measured":
            listener.measured(stage, **fields)
        case "noted":
            listener.noted(stage, **fields)
        case "finished" | "failed" as end:
            return {"event": end, **fields}
        case other:
            raise ValueError(f"unknown event {other!r} from the child of {stage}")
    return None
