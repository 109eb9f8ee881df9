"""Fill the workspace's disk at a random moment of a run; when there is room again, the next run must be right."""

import errno
import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.chaos.command import Command, last_line, run_and_wait
from scripts.chaos.ground import Ground, empty
from scripts.chaos.verdict import Case

DISK_BYTES = 256 * 2**20
LEFT_BYTES = (0, 4096, 65536, 262144)
"""What a full disk still has room for: nothing, a page, a small file, a shard's beginning."""


@contextmanager
def small_disk(ground: Ground) -> Iterator[None]:
    """The workspace as a small disk of its own, in memory; needs a user who may mount.

    Raises:
        CalledProcessError: this user may not.
    """
    root = ground.workspace.root
    empty(root)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(root)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)


def fill_once(ground: Ground, chance: random.Random, stages: tuple[str, ...]) -> Case:
    """Fill the disk during a stage, end the stage, make room, run again."""
    stage, left = chance.choice(stages), chance.choice(LEFT_BYTES)
    delay = chance.uniform(0.0, 0.9) * ground.seconds[stage]
    ground.restore(stage)
    command = Command("run", ground.config, "--only", stage)
    command.watch(lambda: command.process.poll() is not None, delay)
    filler = ground.workspace.root / "filler"
    _fill(filler, left)
    full = command.wait()
    filler.unlink()
    again = run_and_wait("run", ground.config, "--only", stage)
    what = f"{left} bytes left in {stage} after {delay:.1f} s: {last_line(full.output) if full.code else 'it went on'}"
    problem = "" if full.problem.startswith("first stage") else full.problem
    if full.code and not problem and "full" not in full.output:
        problem = f"exit code {full.code} without a word of the full disk: {full.output[-600:]}"
    problem = problem or again.problem or (f"exit code {again.code}: {again.output[-600:]}" if again.code else "")
    return Case(what, problem or ground.differences(stage), again.first_stage)


def _fill(path: Path, left: int) -> None:
    """Write a file until the disk has `left` bytes, or fewer where the run wrote meanwhile."""
    while True:
        status = os.statvfs(path.parent)
        size = max(status.f_bavail * status.f_frsize - left, 0)
        try:
            with path.open("wb") as file:
                if size:
                    os.posix_fallocate(file.fileno(), 0, size)
            return
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
