"""Records of the process that runs a flow run, so that a run whose process is gone can be distinguished from one that
works."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from ltx_core.io.atomic import atomic_path, find_whole
from ltx_core.io.lock import taken
from ltx_core.process import ProcessRecord
from tasks.tracking.log import Entry
from tasks.tracking.mlflow import TrackedRun

if TYPE_CHECKING:
    from mlflow import MlflowClient


def has_children(record: ProcessRecord) -> bool:
    """Return whether a stage that it started still commits what is finished, and may still use the GPU. A stage's
    process has the command line of the fork server, whose last word is the run's process."""
    words = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
    return any("tasks.runtime.fork_server" in one and one[-1] == str(record.pid) for one in words)


def records_folder() -> Path:
    """Beside Prefect's own state, since both speak of the same runs."""
    from prefect.settings import get_current_settings

    return Path(get_current_settings().home) / "ltx2-lora" / "processes"


@contextmanager
def recorded_process(flow_run_id: str) -> Iterator[None]:
    """Leave a record while the block runs, and hold its lock; a killed process cannot take it back, which is the point,
    and the kernel frees the lock."""
    path = _record(flow_run_id)
    with ExitStack() as stack:
        with atomic_path(path) as partial:
            partial.write_bytes(json.dumps(asdict(ProcessRecord.own())).encode())
            taken(stack.enter_context(partial.open("r+b")).fileno())
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def dead_runs() -> dict[str, ProcessRecord]:
    """Flow runs recorded on this machine whose process is gone, with the last of its children. Another container of
    this name, whose processes cannot be seen, holds the locks of its records."""
    dead = {}
    for path in find_whole(records_folder(), "*.json"):
        with suppress(FileNotFoundError), path.open("r+b") as file:  # taken back meanwhile
            record = ProcessRecord.of(json.load(file))
            if taken(file.fileno()) and record.is_past() and not has_children(record):
                dead[path.stem] = record
    return dead


def forget(flow_run_id: str) -> None:
    """Drop the record of a run that was dealt with."""
    _record(flow_run_id).unlink(missing_ok=True)


def _record(flow_run_id: str) -> Path:
    return records_folder() / f"{flow_run_id}.json"


HOST, PROCESS = "ltx2.host", "ltx2.process"
"""Tags: the machine, to search by, and the process, with its start."""


def beginning(key: str, name: str, *, parent: str | None = None) -> Entry:
    """The first entry of a run that this process tells of; `parent`: another run's key."""
    process = ProcessRecord.own()
    tags = {HOST: process.host, PROCESS: json.dumps(asdict(process))}
    return Entry(key, "begin", {"name": name, "parent": parent, "tags": tags})


def end_dead_runs(client: "MlflowClient", experiment: str) -> list[str]:
    """Mark runs of this machine KILLED whose process is gone, parents and children; their names."""
    running = f"attributes.status = 'RUNNING' and tags.`{HOST}` = '{os.uname().nodename}'"
    dead = [run for run in client.search_runs([experiment], running) if _is_dead(run.data.tags)]
    for run in dead:
        TrackedRun(client, experiment, run.info.run_id).end("KILLED")
    return [run.info.run_name for run in dead]


def _is_dead(tags: Mapping[str, str]) -> bool:
    """Return whether the process ended, perhaps with its machine; a run whose tag says nothing is left alone. One that
    runs nevertheless, in another container of this name, says how it ended when it does."""
    try:
        return ProcessRecord.of(json.loads(tags[PROCESS])).is_past()
    except (KeyError, TypeError, ValueError):
        return False
