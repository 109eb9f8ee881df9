"""Long-running work reports its progress and learns that it should stop, without knowing who listens."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ltx_core.errors import Stopped


class Progress(Protocol):
    """The interface that a stage body calls between items. Implementations are cheap enough to call for every item."""

    def advance(self, done: int, total: int, unit: str) -> None:
        """Say how many of `total` items are finished, reused ones included."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record values at a step."""

    def note(self, message: str) -> None:
        """Say one line that a person should see."""

    def show(self, page: Path) -> None:
        """Say that a page to look at is there, or is there anew, while the work goes on."""

    @property
    def stopping(self) -> bool:
        """True if the work should commit what is finished and leave."""


class Silent:
    """Progress that nobody listens to."""

    stopping = False

    def advance(self, done: int, total: int, unit: str) -> None:
        return

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        return

    def note(self, message: str) -> None:
        return

    def show(self, page: Path) -> None:
        return


SILENT = Silent()
"""For a default: it holds nothing."""


def stop_if_asked(progress: Progress, what: str) -> None:
    """Leave here if asked to; call where everything finished so far is committed.

    Raises:
        Stopped: the work was asked to stop.
    """
    if progress.stopping:
        raise Stopped(f"stopped while {what}; what was finished is kept, run again to go on")
