"""Messages between a stage's process and its parent: the request, events as JSON lines, and the log."""

import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from datasets_spec import Manifest
from ltx_core.io.atomic import find_whole, is_leftover, owner_mark, remove_leftovers
from ltx_core.io.json_file import read_json, write_json
from ltx_core.io.regular import one_line
from ltx_core.progress import SILENT, Progress
from tasks import stage_named
from tasks.runtime.shared import Shared
from tasks.runtime.stage import Decision, StageRun
from tasks.runtime.workspace import Workspace
from tasks.tracking.address import WHOLE

REQUESTS = "requests"
"""The folder of requests, beside the folders of a stage."""


def write_request(run: StageRun[Any]) -> Path:
    """Write the run to a file of its own; two that ask for one stage at once do not meet. It has the addresses whole,
    so that this user alone may read it.

    Raises:
        StorageError: the workspace cannot be written.
    """
    decided, whole = run.decided, dict(WHOLE)
    request = {
        "stage": run.stage.name,
        "config": run.config.model_dump(mode="json", context=whole),
        "shared": run.shared.model_dump(mode="json", context=whole),
        "inputs": {name: str(manifest.path) for name, manifest in run.inputs.items()},
        "workspace": str(run.workspace.root),
        "force": run.force,
        "decision": asdict(decided),
    }
    path = run.out.parent / REQUESTS / f"{decided.key}-{owner_mark()}.json"
    write_json(path, request, indent=2, private=True)
    return path


def read_request(path: Path, progress: Progress = SILENT) -> StageRun[Any]:
    """The run that a request is for.

    Raises:
        DamagedError: it is gone or changed.
    """
    request = read_json(path)
    stage = stage_named(request["stage"])
    return StageRun(
        stage=stage,
        config=stage.config.model_validate(request["config"]),
        shared=Shared.model_validate(request["shared"]),
        inputs={name: Manifest(Path(where), stage_named(name).makes) for name, where in request["inputs"].items()},
        workspace=Workspace(Path(request["workspace"])),
        force=request["force"],
        progress=progress,
        decision=Decision(**request["decision"]),
    )


def clear_leftovers(run: StageRun[Any]) -> None:
    """Delete what killed runs left: requests of this stage, and partial files of it, of the store and of reports."""
    stage, place = run.out.parent, run.workspace
    for path in find_whole(stage / REQUESTS, "*.json"):
        if is_leftover(path, path.name.partition("-")[2]):
            path.unlink(missing_ok=True)
    for folder in (stage, place.store, place.runs):
        remove_leftovers(folder)


class Listener:
    """Whoever wants to know how a stage is going, such as a terminal, a Prefect artifact or an MLflow run. This one
    hears nothing."""

    def started(self, stage: str, why: str) -> None:
        """The stage's child is about to start."""

    def advanced(self, stage: str, done: int, total: int, unit: str) -> None:
        """`done` of `total` items are finished."""

    def measured(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Values at a step."""

    def noted(self, stage: str, message: str) -> None:
        """One line that a person should see."""

    def shown(self, stage: str, page: Path) -> None:
        """A page to look at is there, or is there anew, while the stage goes on."""


class Everyone(Listener):
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

    def shown(self, stage: str, page: Path) -> None:
        """Tell all."""
        for listener in self.listeners:
            listener.shown(stage, page)


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
        case "shown":
            listener.shown(stage, Path(fields["page"]))
        case "finished" | "failed" as end:
            return {"event": end, **fields}
        case other:
            raise ValueError(f"unknown event {other!r} from the child of {stage}")
    return None


GRACE_SECONDS = 10.0
"""Seconds that a body may take to commit after SIGTERM. Then the process ends regardless."""
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

    def show(self, page: Path) -> None:
        """Name the page."""
        self.send("shown", page=str(page))

    def send(self, event: str, **fields: object) -> None:
        """Write one event; a parent that is gone cannot listen and is no error here."""
        try:
            os.write(self.pipe, encode(event, **fields))
        except BrokenPipeError:
            self.stopping = True


class _Lossy(io.FileIO):
    """A file whose lines are lost where they cannot be written, as on a full disk."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(memoryview(data).cast("B"))


def log_to_stderr() -> None:
    """Let Python's standard output and standard error go to file descriptor 2, where a lost line raises nothing.

    Without a buffer, so that each line is in the log when it is printed, in order with what C libraries print.
    """
    raw = _Lossy(2, "w", closefd=False)
    sys.stdout = sys.stderr = io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)
