"""Identification of a process: distinguished from a later one of the same number, and from one of another machine."""

import os
import re
from collections.abc import Iterator, Mapping
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
        """True if it is or was a process of this machine or container since that started; of others nothing can be
        known."""
        return self.host == os.uname().nodename and self.table in ("", process_table())

    def is_alive(self) -> bool:
        """Return whether that very process still runs on this machine."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started_at) < 1.0
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)  # dead, and nobody asked how
        except psutil.NoSuchProcess:
            return False

    def is_gone(self) -> bool:
        """Return whether it surely ended: it was of this machine or container, and runs no more."""
        return self.is_here and not self.is_alive()

    def is_past(self) -> bool:
        """Return whether it is gone, or was of a machine or container of this name before a restart. One of another
        container of this name that runs now cannot be told from those: where that would do harm, ask a lock too."""
        return self.host == os.uname().nodename and not (self.is_here and self.is_alive())


CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
MACHINE = Path("/proc/vmstat")


def oom_kills() -> int | None:
    """Return how many processes of this one's control group, its descendants too, or where that is unknown of the whole
    machine, the kernel has ended for want of memory; None where the kernel does not say."""
    for file in (*_group_files(), MACHINE):
        try:
            counted = re.search(r"^oom_kill (\d+)$", file.read_text(), re.MULTILINE)
        except OSError:  # another way to mount control groups, or the root group, which has no such file
            continue
        if counted:
            return int(counted[1])
    return None


def killed_since(before: int | None) -> bool:
    """Return whether the kernel ended another process since `oom_kills` gave `before`."""
    now = oom_kills()
    return before is not None and now is not None and now > before


def _group_files() -> Iterator[Path]:
    """Where the counter may be: of control groups of version 2, then 1; inside a container the root is its own."""
    for line in OWN_GROUPS.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield CONTROL_GROUPS / path.lstrip("/") / "memory.events"
            yield CONTROL_GROUPS / "memory.events"
        elif "memory" in controllers.split(","):
            yield CONTROL_GROUPS / "memory" / path.lstrip("/") / "memory.oom_control"
            yield CONTROL_GROUPS / "memory" / "memory.oom_control"
