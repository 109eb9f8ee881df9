"""Which process tells MLflow of a run, so that a run whose process was killed does not run in MLflow for ever."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from ltx_core.process import ProcessRecord
from tasks.tracking import TrackedRun
from tasks.tracking_kept import Entry

if TYPE_CHECKING:
    from mlflow import MlflowClient

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
    """Whether the process ended, perhaps with its machine; a run whose tag says nothing is left alone. One that runs
    nevertheless, in another container of this name, says how it ended when it does."""
    try:
        return ProcessRecord.of(json.loads(tags[PROCESS])).is_past()
    except (KeyError, TypeError, ValueError):
        return False
