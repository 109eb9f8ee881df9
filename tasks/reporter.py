"""What a stage's process says to whoever started it, and how it hears that it is to stop."""

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from types import FrameType

from ltx_core.files.regular import one_line
from tasks.events import encode

GRACE_SECONDS = 10.0
"""How long a body may take to commit after SIGTERM before the process ends regardless."""
ADVANCE_INTERVAL_SECONDS = 0.05
STOPPED_EXIT = 143


class Reporter:
    """The child's Progress: writes events to the pipe, and turns SIGTERM into `stopping`."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe
        self.stopping = False
        self._last_advance = 0.0

    def listen_for_stop(self) -> None:
        """Take SIGTERM and SIGINT as a request to stop."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        if not self.stopping:
            self.stopping = True
            threading.Thread(target=_end_after_grace, daemon=True).start()

    def advance(self, done: int, total: int, unit: str) -> None:
        """Say how far it is; at most 20 times a second, and always at the end."""
        now = time.monotonic()
        if done >= total or now - self._last_advance >= ADVANCE_INTERVAL_SECONDS:
            self._last_advance = now
            self.send("advanced", done=done, total=total, unit=unit)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Send values at a step."""
        self.send("measured", step=step, values=dict(values))

    def note(self, message: str) -> None:
        """Send one line for people, and keep it in the log."""
        line = one_line(message)
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
        self.send("noted", message=line)

    def send(self, event: str, **fields: object) -> None:
        """Write one event; a parent that is gone cannot listen and is no error here."""
        try:
            os.write(self.pipe, encode(event, **fields))
        except BrokenPipeError:
            self.stopping = True


def _end_after_grace() -> None:
    time.sleep(GRACE_SECONDS)
    os._exit(STOPPED_EXIT)
