"""Which process runs a flow run, so that a run whose process is gone can be told from one that works."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from uuid import UUID

import psutil

from ltx_core.files.atomic import find_whole, write_bytes


@dataclass(frozen=True)
class ProcessRecord:
    """A process, told apart from a later one of the same number by its start."""

    pid: int
    started_at: float
    host: str
    gpu_lease: str | None = None
    """What it holds of the server's GPU slots."""

    def is_alive(self) -> bool:
        """Whether that very process still runs on this machine."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started_at) < 1.0
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)  # dead, and nobody asked how
        except psutil.NoSuchProcess:
            return False

    def has_children(self) -> bool:
        """Whether a stage that it started still commits what is finished, and may still use the GPU."""
        words = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
        return any("tasks.child" in one and one[-1] == str(self.pid) for one in words)


def records_folder() -> Path:
    """Beside Prefect's own state, since both speak of the same runs."""
    from prefect.settings import get_current_settings

    return Path(get_current_settings().home) / "ltx2-lora" / "processes"


@contextmanager
def recorded_process(flow_run_id: str) -> Iterator[None]:
    """Leave a record while the block runs; a killed process cannot take it back, which is the point."""
    path = _record(flow_run_id)
    _write(path, ProcessRecord(os.getpid(), psutil.Process().create_time(), os.uname().nodename))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def record_lease(flow_run_id: str, lease: UUID) -> None:
    """Add to a process's record what it holds of the GPU slots."""
    path = _record(flow_run_id)
    _write(path, replace(ProcessRecord(**json.loads(path.read_text())), gpu_lease=str(lease)))


def dead_runs() -> dict[str, ProcessRecord]:
    """Flow runs recorded on this machine whose process is gone, with the last of its children."""
    dead = {}
    for path in find_whole(records_folder(), "*.json"):
        record = ProcessRecord(**json.loads(path.read_text()))
        here = record.host == os.uname().nodename
        if here and not record.is_alive() and not record.has_children():
            dead[path.stem] = record
    return dead


def forget(flow_run_id: str) -> None:
    """Drop the record of a run that was dealt with."""
    _record(flow_run_id).unlink(missing_ok=True)


def _record(flow_run_id: str) -> Path:
    return records_folder() / f"{flow_run_id}.json"


def _write(path: Path, record: ProcessRecord) -> None:
    write_bytes(path, json.dumps(asdict(record)).encode())
