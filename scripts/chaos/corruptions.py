"""Damage random files of a finished workspace, then run again."""

import random

from scripts.chaos.command import TRACEBACK, last_line, run_and_wait
from scripts.chaos.ground import BYTES, Ground
from scripts.chaos.verdict import Case
from scripts.corrupt import corrupt

AT_ONCE = 10
"""Files damaged before one run: a run takes half a minute, and damage in one file hides none in another."""


def corrupt_once(ground: Ground, chance: random.Random) -> Case:
    """Damage so many files and run the whole pipeline."""
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
