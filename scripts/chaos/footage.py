"""Replace a file of the footage at a random moment of a run, put it back, run again."""

import os
import random
import shutil

from scripts.chaos.command import last_line, run_and_wait
from scripts.chaos.ground import FOOTAGE, Ground, contents_of, empty
from scripts.chaos.page import Case

READERS = ("probe", "split", "embed_text", "encode_latents")
WAYS = ("other file", "same size and time", "caption", "cut short", "gone for a moment")


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
    way, name = chance.choice(WAYS), chance.choice(FOOTAGE)
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
