"""Which process it was: told apart from a later one of the same number, and from one of another machine."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil


@cache
def process_table() -> str:
    """Names the table that a process number belongs to: the kernel's, since it started, and in it the PID namespace, of
    which each container has its own. Containers and machines of one host name differ in it."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"


@dataclass(frozen=True)
class ProcessRecord:
    """A process: its number, when it started in seconds since the epoch, and the name of its machine."""

    pid: int
    started_at: float
    host: str
    table: str = ""
    """Its `process_table`; nothing in records of earlier versions, which are taken for this machine's by its name."""

    @classmethod
    def own(cls) -> "ProcessRecord":
        """This process."""
        return cls.number(os.getpid())

    @classmethod
    def number(cls, pid: int) -> "ProcessRecord":
        """A process of this machine that is running, or has ended and was not asked how.

        Raises:
            psutil.NoSuchProcess: there is none of that number.
        """
        return cls(pid, psutil.Process(pid).create_time(), os.uname().nodename, process_table())

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "ProcessRecord":
        """As `asdict` gave it, in this version or in an earlier one, which said more.

        Raises:
            KeyError, TypeError, ValueError: `values` are no such record.
        """
        pid, started_at, host = int(values["pid"]), float(values["started_at"]), str(values["host"])
        if pid < 1:  # the kernel takes such a number for a group of processes, that of who asks among them
            raise ValueError(f"{pid} is no number of a process")
        return cls(pid, started_at, host, str(values.get("table", "")))

    @property
    def is_here(self) -> bool:
        """Whether it is or was a process of this machine or container since that started; of others nothing can be
        known."""
        return self.host == os.uname().nodename and self.table in ("", process_table())

    def is_alive(self) -> bool:
        """Whether that very process still runs on this machine."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started_at) < 1.0
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)  # dead, and nobody asked how
        except psutil.NoSuchProcess:
            return False

    def is_gone(self) -> bool:
        """Whether it surely ended: it was of this machine or container, and runs no more."""
        return self.is_here and not self.is_alive()

    def is_past(self) -> bool:
        """Whether it is gone, or was of a machine or container of this name before a restart. One of another container
        of this name that runs now cannot be told from those: where that would do harm, ask a lock too."""
        return self.host == os.uname().nodename and not (self.is_here and self.is_alive())
