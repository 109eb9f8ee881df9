"""Which process runs a flow run, so that a run whose process is gone can be told from one that works."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from ltx_core.files.atomic import write_bytes


@dataclass(frozen=True)
class ProcessRecord:
    """A process, told apart from a later one of the same number by its start."""

    pid: int
    started_at: float
    host: str

    def is_alive(self) -> bool:
        """Whether that very process still runs on this machine."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started_at) < 1.0
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)  # dead, and nobody asked how
        except psutil.NoSuchProcess:
            return False


def records_folder() -> Path:
    """Beside Prefect's own state, since both speak of the same runs."""
    from prefect.settings import get_current_settings

    return Path(get_current_settings().home) / "ltx2-lora" / "processes"


@contextmanager
def recorded_process(flow_run_id: str) -> Iterator[None]:
    """Leave a record while the block runs; a killed process cannot take it back, which is the point."""
    path = records_folder() / f"{flow_run_id}.json"
    own = ProcessRecord(os.getpid(), psutil.Process().create_time(), os.uname().nodename)
    write_bytes(path, json.dumps(asdict(own)).encode())
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def dead_runs() -> list[str]:
    """Flow runs recorded on this machine whose process is gone."""
    dead = []
    for path in sorted(records_folder().glob("*.json")):
        record = ProcessRecord(**json.loads(path.read_text()))
        if record.host == os.uname().nodename and not record.is_alive():
            dead.append(path.stem)
    return dead


def forget(flow_run_id: str) -> None:
    """Drop the record of a run that was dealt with."""
    (records_folder() / f"{flow_run_id}.json").unlink(missing_ok=True)
