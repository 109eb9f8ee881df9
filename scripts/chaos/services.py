"""Kill Prefect's server, its worker or `up` itself while a deployment's run works, then run in a terminal."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from scripts.chaos.command import Command, kill_tree, tree, words_of
from scripts.chaos.ground import Ground
from scripts.chaos.page import Case
from tasks.runtime.ranks import free_port

VICTIMS = {"server": "flows.server.api_server", "worker": "worker start", "mlflow": "mlflow ui"}
"""Services by what their command line holds."""
WAYS = (*VICTIMS, "up", "down", "all")
UP_SECONDS = 180.0


def disturb_services(ground: Ground, chance: random.Random, stages: tuple[str, ...]) -> Case:
    """One kill of a service under a run; a run in the terminal afterwards must be right, and start at once."""
    stage, way = chance.choice(stages), chance.choice(WAYS)
    delay = chance.uniform(0.5, 1.2) * ground.seconds[stage]
    ground.restore(stage)
    with tempfile.TemporaryDirectory(prefix="chaos-prefect-") as home, _up(ground, Path(home)) as (up, environment):
        _deployment_run(ground, stage, environment)
        time.sleep(delay)
        _kill(up, way, environment)
        return ground.again(stage, f"{way} in {stage} after {delay:.1f} s", environment=environment)


@contextmanager
def _up(ground: Ground, home: Path) -> Iterator[tuple[psutil.Popen, dict[str, str]]]:
    """`ltx2-lora up` on free ports with a Prefect of its own."""
    port, mlflow_port = free_port(), free_port()
    environment = {
        **os.environ,
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_API_PORT": str(port),
    }
    words = ["up", "--config", str(ground.config), "--mlflow-port", str(mlflow_port)]
    log = home / "up.log"
    with log.open("wb") as out:
        up = psutil.Popen([sys.executable, "-m", "flows", *words], env=environment, stdout=out, stderr=out)
    try:
        _wait_for_up(up, log)
        yield up, environment
    finally:
        if up.is_running():
            up.send_signal(signal.SIGINT)
            try:
                up.wait(60)
            except psutil.TimeoutExpired:
                kill_tree(up.pid)


def _wait_for_up(up: psutil.Popen, log: Path) -> None:
    deadline = time.monotonic() + UP_SECONDS
    while "run it" not in log.read_text():
        if up.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"`up` did not come up:\n{log.read_text()[-2000:]}")
        time.sleep(0.1)


def _deployment_run(ground: Ground, stage: str, environment: dict[str, str]) -> None:
    overrides = json.dumps({"workspace": str(ground.workspace.root)})
    parameters = ["-p", f"config={ground.config}", "-p", f"overrides={overrides}"]
    command = [sys.executable, "-m", "prefect", "deployment", "run", f"stage-{stage}/stage-{stage}", *parameters]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def _kill(up: psutil.Popen, way: str, environment: dict[str, str]) -> None:
    """SIGKILL, but for `down`, which is the command."""
    if way == "down":
        Command("down", environment=environment).wait(120)
    elif way == "all":
        kill_tree(up.pid)
    elif way == "up":
        up.kill()
    else:
        victims = [process for process in tree(up.pid) if VICTIMS[way] in " ".join(words_of(process))]
        if not victims:
            raise RuntimeError(f"`up` runs no {way}: no process below it has {VICTIMS[way]!r} among its words")
        for process in victims:
            process.kill()
