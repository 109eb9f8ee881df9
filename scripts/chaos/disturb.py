"""Disturb one stage at a random moment, what it reads or what it made, then run again: kills, a full disk, garbage,
damaged files, footage that is another for a time."""

import errno
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.chaos.command import TRACEBACK, Command, kill_tree, last_line, run_and_wait, stage_process
from scripts.chaos.ground import BYTES, FOOTAGE, Ground, contents_of, empty
from scripts.chaos.page import Case
from scripts.corrupt import corrupt

WAYS = ("run SIGKILL", "run SIGTERM", "ctrl-C", "closed terminal", "child SIGKILL", "child SIGTERM", "all SIGKILL")
READERS = ("probe", "split", "embed_text", "encode_latents")
REPLACEMENTS = ("other file", "same size and time", "caption", "cut short", "gone for a moment")


def kill_once(ground: Ground, chance: random.Random, stages: tuple[str, ...]) -> Case:
    """One kill and the run after it, which must end in the undisturbed bytes."""
    stage, way = chance.choice(stages), chance.choice(WAYS)
    command, delay = ground.begun(chance, stage, most=1.1, terminal=way in ("ctrl-C", "closed terminal"))
    _kill(command, way)
    killed = command.wait(60)
    problem = killed.problem if killed.hung or "traceback" in killed.problem else ""
    return ground.again(stage, f"{way} in {stage} after {delay:.1f} s", problem)


def _kill(command: Command, way: str) -> None:
    pid = command.process.pid
    if way == "ctrl-C":
        command.press_ctrl_c()
    elif way == "closed terminal":
        command.close_terminal()
    elif way == "all SIGKILL":
        kill_tree(pid)
    else:
        victim, name = way.split()
        child = stage_process(pid) if victim == "child" else None
        target, number = child.pid if child else pid, signal.Signals[name]
        try:
            os.kill(target, number)
        except ProcessLookupError:  # it ended by itself
            return


def collect_once(ground: Ground, chance: random.Random, stages: tuple[str, ...]) -> Case:
    """`gc --yes` that keeps no run, at a random moment of a stage; the stage and the next run must be right."""
    stage = chance.choice(stages)
    command, delay = ground.begun(chance, stage, most=0.8)
    collected = run_and_wait("gc", ground.config, "--yes", "--keep-runs", "0")
    problems = {"gc": collected.failure, "the run": command.wait().failure}
    problem = next((f"{name}: {one}" for name, one in problems.items() if one), "")
    return ground.again(stage, f"gc in {stage} after {delay:.1f} s", problem)


DISK_BYTES = 256 * 2**20
LEFT_BYTES = (0, 4096, 65536, 262144)
"""What a full disk still has room for: nothing, a page, a small file, a shard's beginning."""


def fill_once(ground: Ground, chance: random.Random, stages: tuple[str, ...]) -> Case:
    """Fill the workspace's disk, which is a small one, during a stage; end the stage, make room, run again."""
    stage, left = chance.choice(stages), chance.choice(LEFT_BYTES)
    with _small_disk(ground):
        command, delay = ground.begun(chance, stage, most=0.9)
        filler = ground.workspace.root / "filler"
        _fill(filler, left)
        full = command.wait()
        filler.unlink()
        ended = last_line(full.output) if full.code else "it went on"
        problem = "" if full.problem.startswith("first stage") else full.problem
        if full.code and not problem and "full" not in full.output:
            problem = f"exit code {full.code} without a word of the full disk: {full.output[-600:]}"
        return ground.again(stage, f"{left} bytes left in {stage} after {delay:.1f} s: {ended}", problem)


@contextmanager
def _small_disk(ground: Ground) -> Iterator[None]:
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


AT_ONCE = 10
"""Files damaged before one run: a run takes half a minute, and damage in one file hides none in another."""


def corrupt_once(ground: Ground, chance: random.Random) -> Case:
    """Damage so many files of a finished workspace and run the whole pipeline."""
    ground.restore("end")
    what = "; ".join(corrupt(ground.workspace.root, chance.randrange(2**32)) for _ in range(AT_ONCE))
    again = run_and_wait("run", ground.config)
    if again.problem:
        return Case(what, again.problem, again.first_stage)
    if again.code:
        return _after_repair(ground, what, last_line(again.output))
    left = ground.differences()
    return (
        _after_repair(ground, what, f"not read: {left}")
        if left.startswith(BYTES)
        else Case(what, left, again.first_stage)
    )


def _after_repair(ground: Ground, what: str, message: str) -> Case:
    """A run that refuses is right if it says so in a line and what the line asks for helps; so is one that had no need
    of a damaged file in the pool, if `verify` finds that file and takes it away."""
    repaired = run_and_wait("verify", ground.config, "--repair")
    if TRACEBACK in repaired.output:
        return Case(what, f"after {message!r}, verify --repair: {last_line(repaired.output)}")
    again = run_and_wait("run", ground.config)
    problem = again.problem or (f"after {message!r} and a repair: {again.output[-600:]}" if again.code else "")
    return Case(what, problem or ground.differences(), again.first_stage, message)


class Footage:
    """The footage, a second take of each file, and what a run stores of the second takes."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.folder = ground.folder / "footage"
        self.originals, self.takes = ground.folder / "originals", ground.folder / "takes"
        if not self.takes.exists():
            shutil.copytree(self.folder, self.originals)
            self._make_takes()
        self.known = self._contents_of_takes()

    def put_back(self) -> None:
        """The files as they were; their times too, but not the time of their change, which nobody can set."""
        empty(self.folder)
        shutil.copytree(self.originals, self.folder, dirs_exist_ok=True)

    def replace(self, way: str, name: str) -> None:
        """Disturb one file, as `way` says."""
        file, take = next(self.folder.glob(f"{name}.m*")), next(self.takes.glob(f"{name}.m*"))
        caption = self.folder / f"{name}.txt"
        if way == "other file":
            shutil.copyfile(take, file)
        elif way == "same size and time":
            before = file.stat()
            file.write_bytes(take.read_bytes()[: before.st_size].ljust(before.st_size, b"\0"))
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        elif way == "caption":
            caption.write_text("A caption that was changed during the run.")
        elif way == "cut short":
            os.truncate(file, file.stat().st_size // 2)
        else:
            file.unlink()

    def _make_takes(self) -> None:
        """Each file's name with another file's bytes, and captions that name the take."""
        self.takes.mkdir()
        files = sorted(file for name in FOOTAGE for file in self.originals.glob(f"{name}.m*"))
        for file, other in zip(files, [*files[1:], files[0]], strict=True):
            data = bytearray(other.read_bytes())
            (self.takes / file.name).write_bytes(bytes(data) + b"\0\0\0\x08free")  # other bytes, same frames
            shutil.copy(self.originals / f"{file.stem}.txt", self.takes)

    def _contents_of_takes(self) -> dict[str, str]:
        """What an undisturbed run on the second takes stores."""
        ground = self.ground
        ground.restore("probe")
        empty(self.folder)
        shutil.copytree(self.takes, self.folder, dirs_exist_ok=True)
        for stage in READERS:
            ended = run_and_wait("run", ground.config, "--only", stage)
            if ended.code:
                raise RuntimeError(f"{stage} on the second takes ended with {ended.code}:\n{ended.output}")
        self.put_back()
        return contents_of(ground.workspace)


def replace_once(footage: Footage | None, chance: random.Random) -> Case:
    """One replacement during one stage; then the original again, and runs up to that stage."""
    assert footage is not None
    ground, stage = footage.ground, chance.choice(READERS)
    way, name = chance.choice(REPLACEMENTS), chance.choice(FOOTAGE)
    command, delay = ground.begun(chance, stage, most=0.9)
    footage.replace(way, name)
    disturbed = command.wait()
    between = contents_of(ground.workspace)
    footage.put_back()
    what = (
        f"{name}: {way} in {stage} after {delay:.1f} s ({last_line(disturbed.output) if disturbed.code else 'ended'})"
    )
    if disturbed.problem:
        return Case(what, disturbed.problem)
    first = 0.0
    for before in READERS[: READERS.index(stage) + 1]:
        again = run_and_wait("run", ground.config, "--only", before)
        first = max(first, again.first_stage)
        if again.failure:
            return Case(what, f"{before} again: {again.failure}", first)
    return Case(what, ground.differences(stage) or _wrong(between, ground.contents | footage.known, way), first)


def _wrong(found: dict[str, str], allowed: dict[str, str], way: str) -> str:
    """What was stored under the name of something else while the file was another."""
    changed = sorted(name for name, digest in found.items() if allowed.get(name, digest) != digest)
    return f"stored during {way}: {', '.join(changed[:4])}" if changed else ""
