"""Damage random files of a finished workspace, then run again."""

import random
from pathlib import Path

from scripts.chaos.command import last_line, run_and_wait
from scripts.chaos.ground import Ground
from scripts.chaos.verdict import Case

AT_ONCE = 10
"""Files damaged before one run: a run takes half a minute, and damage in one file hides none in another."""
UNTOUCHED = ("mlflow.db", "cache")
"""MLflow's database is not ours to check; what compilers keep, they check."""


def corrupt_once(ground: Ground, chance: random.Random) -> Case:
    """Damage so many files and run the whole pipeline."""
    ground.restore("end")
    done = [_damage(file, chance) for file in _files(ground.workspace.root, chance)]
    again = run_and_wait("run", ground.config)
    what = "; ".join(done)
    if again.problem:
        return Case(what, again.problem, again.first_stage)
    if again.code:
        return _after_a_message(ground, what, last_line(again.output))
    return Case(what, ground.differences(), again.first_stage)


def _after_a_message(ground: Ground, what: str, message: str) -> Case:
    """A run that refuses is right if it says so in a line and what the line asks for helps."""
    repaired = run_and_wait("verify", ground.config, "--repair")
    if "Traceback" in repaired.output:
        return Case(what, f"verify --repair: {last_line(repaired.output)}")
    again = run_and_wait("run", ground.config)
    problem = again.problem or (f"after a repair: {again.output[-600:]}" if again.code else "")
    return Case(what, problem or ground.differences(), again.first_stage, message)


def _files(root: Path, chance: random.Random) -> list[Path]:
    found = sorted(
        path
        for path in root.rglob("*")
        if path.is_file() and path.name != ".lock" and path.relative_to(root).parts[0] not in UNTOUCHED
    )
    return chance.sample(found, min(AT_ONCE, len(found)))


def _damage(file: Path, chance: random.Random) -> str:
    """One of: some bytes changed, a bit flipped, cut short, emptied, grown, filled with zeros, gone."""
    data = bytearray(file.read_bytes())
    way = chance.choice(("bytes", "bytes", "bit", "bit", "cut", "empty", "longer", "zeros", "gone"))
    if way == "gone" or not data:
        file.unlink()
        return f"{file.name} gone"
    at = chance.randrange(len(data))
    if way == "bytes":
        data[at : at + 8] = chance.randbytes(min(8, len(data) - at))
    elif way == "bit":
        data[at] ^= 1 << chance.randrange(8)
    elif way == "zeros":
        data[at : at + 4096] = bytes(len(data[at : at + 4096]))
    else:
        data = {"cut": data[:at], "empty": bytearray(), "longer": data + chance.randbytes(100)}[way]
    file.write_bytes(bytes(data))
    return f"{file.name} {way} at {at}"
