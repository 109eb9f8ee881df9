"""Collect garbage while a run works: nothing that it uses may go."""

import random

from scripts.chaos.command import Command, run_and_wait
from scripts.chaos.ground import Ground
from scripts.chaos.verdict import Case


def collect_once(ground: Ground, chance: random.Random, stages: tuple[str, ...]) -> Case:
    """`gc --yes` that keeps no run, at a random moment of a stage; the stage and the next run must be right."""
    stage = chance.choice(stages)
    delay = chance.uniform(0.0, 0.8) * ground.seconds[stage]
    ground.restore(stage)
    command = Command("run", ground.config, "--only", stage)
    command.watch(lambda: command.process.poll() is not None, delay)
    collected = run_and_wait("gc", ground.config, "--yes", "--keep-runs", "0")
    disturbed = command.wait()
    again = run_and_wait("run", ground.config, "--only", stage)
    what = f"gc in {stage} after {delay:.1f} s"
    for name, ended in (("gc", collected), ("the run", disturbed), ("the next run", again)):
        if ended.problem or ended.code:
            return Case(what, f"{name}: exit code {ended.code}, {ended.problem or ended.output[-600:]}")
    return Case(what, ground.differences(stage), again.first_stage)
