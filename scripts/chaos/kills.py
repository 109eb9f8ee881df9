"""Kill a run at a random moment of a random stage, then run again."""

import os
import random
import signal
import time

from scripts.chaos.command import Command, kill_tree, run_and_wait, stage_process
from scripts.chaos.ground import Ground
from scripts.chaos.verdict import Case

WAYS = ("run SIGKILL", "run SIGTERM", "ctrl-C", "closed terminal", "child SIGKILL", "child SIGTERM", "all SIGKILL")


def kill_once(ground: Ground, chance: random.Random, stages: tuple[str, ...]) -> Case:
    """One kill and the run after it, which must end in the undisturbed bytes."""
    stage, way = chance.choice(stages), chance.choice(WAYS)
    delay = chance.uniform(0.0, 1.1) * ground.seconds[stage]
    ground.restore(stage)
    command = Command("run", ground.config, "--only", stage, terminal=way in ("ctrl-C", "closed terminal"))
    command.watch(lambda: time.monotonic() - command.started > delay or command.process.poll() is not None, 600)
    _kill(command, way)
    killed = command.wait(60)
    again = run_and_wait("run", ground.config, "--only", stage)
    what = f"{way} in {stage} after {delay:.1f} s"
    problem = killed.problem if killed.hung or "traceback" in killed.problem else ""
    problem = problem or again.problem or (f"exit code {again.code}: {again.output[-600:]}" if again.code else "")
    return Case(what, problem or ground.differences(stage), again.first_stage)


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
