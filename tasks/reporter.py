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
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Reporter:
    """The child's Progress: writes events to the pipe, and turns SIGTERM into `stopping`."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe
        self.stopping = False
        self._last_advance = 0.0

    def listen_for_stop(self) -> None:
        """Take SIGTERM and SIGINT as a request to stop. A thread hears them too, since Python's own handlers have to
        wait until a call into a library returns."""
        hearing, waking = os.pipe()
        os.set_blocking(waking, False)  # as Python wants it
        signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            signal.signal(number, self._stop)
        threading.Thread(target=self._end_after_grace, args=(hearing,), daemon=True).start()

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def _end_after_grace(self, hearing: int) -> None:
        while os.read(hearing, 1)[0] not in STOP_SIGNALS:
            continue
        self.stopping = True
        time.sleep(GRACE_SECONDS)
        message = (
            f"stopped, and ended where it was after {GRACE_SECONDS:g} s; what was finished is kept, run again to go on"
        )
        self.send("failed", kind="Stopped", message=message)
        os._exit(STOPPED_EXIT)

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
        self.send("noted", message=line)
        sys.stderr.write(f"{line}\n")

    def send(self, event: str, **fields: object) -> None:
        """Write one event; a parent that is gone cannot listen and is no error here."""
        try:
            os.write(self.pipe, encode(event, **fields))
        except BrokenPipeError:
            self.stopping = True
