"""Which stages open media, in whatever process."""

from collections.abc import Callable
from types import TracebackType
from typing import Any

import av
import pytest

from tasks.runtime.stage import Stage
from tasks.stages.parts import file_reading


class MediaOpeners:
    """Inside the block, the names of stages that open a file are noted in `stages`."""

    def __init__(self) -> None:
        self.stages: set[str] = set()
        self._running: list[str] = []
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> "MediaOpeners":
        version = Stage.__dict__["full_version"].fget

        def asked(stage: Stage[Any, Any]) -> str:  # what every execution asks of its stage first
            self._running.append(stage.name)
            return str(version(stage))

        self._patch.setattr(av, "open", self._noted(av.open))
        read_apart = self._noted(file_reading.read_apart)  # worker processes open files for it
        self._patch.setattr(file_reading, "read_apart", read_apart)
        self._patch.setattr(Stage, "full_version", property(asked))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._patch.undo()

    def _noted(self, read: Callable[..., Any]) -> Callable[..., Any]:
        def reading(*args: Any, **kwargs: Any) -> Any:
            self.stages.add(self._running[-1])
            return read(*args, **kwargs)

        return reading
