"""Whether the kernel ended processes for want of memory: it counts them, for each control group and for the machine."""

import re
from collections.abc import Iterator
from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
MACHINE = Path("/proc/vmstat")


def oom_kills() -> int | None:
    """How many processes of this one's control group, its descendants too, or where that is unknown of the whole
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
    """Whether the kernel ended another process since `oom_kills` gave `before`."""
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
