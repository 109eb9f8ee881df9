"""Which process it was: told apart from a later one of the same number, and from one of another machine."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import psutil


@dataclass(frozen=True)
class ProcessRecord:
    """A process: its number, when it started in seconds since the epoch, and the name of its machine."""

    pid: int
    started_at: float
    host: str

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
        return cls(pid, psutil.Process(pid).create_time(), os.uname().nodename)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "ProcessRecord":
        """As `asdict` gave it, in this version or in an earlier one, which said more.

        Raises:
            KeyError, TypeError, ValueError: `values` are no such record.
        """
        pid, started_at, host = (values[field.name] for field in fields(cls))
        return cls(int(pid), float(started_at), str(host))

    @property
    def is_here(self) -> bool:
        """Whether it is or was a process of this machine; of others nothing can be known."""
        return self.host == os.uname().nodename

    def is_alive(self) -> bool:
        """Whether that very process still runs on this machine."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started_at) < 1.0
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)  # dead, and nobody asked how
        except psutil.NoSuchProcess:
            return False

    def is_gone(self) -> bool:
        """Whether it surely ended: it was of this machine, and runs no more."""
        return self.is_here and not self.is_alive()
