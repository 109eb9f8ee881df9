"""Kill a stage's child, and in another run the worker, during each long stage; prove that the result is the same.

    python scripts/kill_matrix.py demo/ltx2-lora.yaml

The configuration must have run whole once: that run is the undisturbed one. Prints a Markdown table: items finished at
the kill, items computed by the rerun, and whether latents, texts, LoRA and renders equal the undisturbed ones.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from flows.config import RunConfig, load_config
from flows.plan import required_manifest
from tasks import STAGES
from tasks.execute import read_summary
from tasks.registry import stage_named
from tasks.workspace import Workspace

POOLS = {"split": "split", "embed_text": "text", "encode_latents": "latents", "render_validation": "renders"}
KILLED_STAGES = ("split", "embed_text", "encode_latents", "train_lora", "render_validation")
WAIT_SECONDS = 240.0


def main() -> int:
    """Run every case and print the table; exit code 1 if any result differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--victims", nargs="+", choices=("child", "worker"), default=["child", "worker"])
    parser.add_argument("--stages", nargs="+", choices=KILLED_STAGES, default=list(KILLED_STAGES))
    args = parser.parse_args()
    config = load_config(args.config, {})
    say("| killed | stage | finished at the kill | computed by the rerun | of | equal to the undisturbed run |")
    say("|---|---|---|---|---|---|")
    good = True
    for victim in args.victims:
        with services(args.config) if victim == "worker" else nothing() as environment:
            for name in args.stages:
                good &= case(args.config, config, name, victim, environment)
    return 0 if good else 1


def case(path: Path, config: RunConfig, name: str, victim: str, environment: dict[str, str]) -> bool:
    """One kill and rerun; prints its row."""
    with tempfile.TemporaryDirectory(prefix="kill-", dir=config.workspace.parent) as folder:
        place = Workspace(Path(folder))
        prepare(config.place(), place, name)
        before = finished(place, name)
        if victim == "child":
            at_kill = kill_child(path, place, name) - before
            subprocess.run(run_command(path, place), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        else:
            at_kill = kill_worker(path, place, name, environment) - before
        summary = read_summary(required_manifest(stage_named(name), place))
        computed = summary.computed
        if name == "train_lora":
            at_kill, computed = (
                int(summary.figures["resumed_from_step"]),
                int(summary.figures["steps"] - summary.figures["resumed_from_step"]),
            )
        elif name == "render_validation":
            computed = int(summary.figures["sampled"])
        differences = compare(config.place(), place)
        total = int(summary.figures["steps"]) if name == "train_lora" else summary.num_out
        unit = "steps" if name == "train_lora" else summary.unit
        say(f"| {victim} | {name} | {at_kill} | {computed} | {total} {unit} | {differences or 'yes'} |")
        return not differences


def prepare(source: Workspace, target: Workspace, name: str) -> None:
    """A workspace in which everything before a stage is done, and nothing from it on."""
    shutil.copytree(
        source.root, target.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("mlflow*", "mlart*", "runs")
    )
    later = [stage.name for stage in STAGES[STAGES.index(stage_named(name)) :]]
    for stage in later:
        shutil.rmtree(target.root / "stages" / stage, ignore_errors=True)
        if stage in POOLS:
            shutil.rmtree(target.pool / POOLS[stage], ignore_errors=True)


def finished(place: Workspace, name: str) -> int:
    """Items of a stage that are committed: files in its pool, samples in shards, checkpoints."""
    if name == "train_lora":
        return len(list(place.root.glob("stages/train_lora/*/checkpoints/step-*")))
    pool = place.pool / POOLS[name]
    if name == "split":
        return len(list(pool.rglob("*.json")))
    if name == "render_validation":
        return len(list(pool.glob("*.safetensors")))
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(index).num_rows for index in pool.rglob("[0-9]*.parquet"))


def kill_child(path: Path, place: Workspace, name: str) -> int:
    """Run, kill the stage's child once something is finished, wait for the failed run; items finished by then."""
    run = subprocess.Popen(run_command(path, place), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    child = wait_for(lambda: child_of(place, name) if finished(place, name) else None, f"child of {name}")
    os.kill(child.pid, signal.SIGKILL)
    if run.wait(WAIT_SECONDS) == 0:
        raise RuntimeError(f"the run with a killed child of {name} did not fail")
    return finished(place, name)


def kill_worker(path: Path, place: Workspace, name: str, environment: dict[str, str]) -> int:
    """Run by deployment, kill the worker with its flow process, and retry the run once it is marked crashed.

    A worker killed alone takes its flow process along only after up to half a minute, in which these toy stages end.
    """
    run_id = deployment_run(path, place, environment)
    wait_for(lambda: child_of(place, name) if finished(place, name) else None, f"child of {name}")
    for worker in processes("worker start"):
        for process in (*worker.children(), worker):  # the flow process, not the stage's child, which has to notice
            process.send_signal(signal.SIGKILL)
    wait_for(lambda: child_of(place, name) is None, "end of the child")
    at_kill = finished(place, name)
    wait_for(lambda: flow_state(run_id, environment) in ("CRASHED", "FAILED"), "the crashed state")
    subprocess.run(["prefect", "flow-run", "retry", run_id], env=environment, check=True, stdout=subprocess.DEVNULL)
    wait_for(lambda: flow_state(run_id, environment) == "COMPLETED", "completion of the retried run")
    return at_kill


def compare(undisturbed: Workspace, place: Workspace) -> str:
    """Which manifests differ in content; latents, texts, LoRA and mp4s are named there by the digest of their bytes."""
    made = [stage.name for stage in STAGES if undisturbed.latest(stage.name)]
    names = [name for name in made if name not in ("register", "publish")]
    pairs = {n: [required_manifest(stage_named(n), w) for w in (undisturbed, place)] for n in names}
    return ", ".join(f"{name} differs" for name, (a, b) in pairs.items() if a.digest != b.digest)


def run_command(path: Path, place: Workspace) -> list[str]:
    """`ltx2-lora run` in another workspace."""
    return [sys.executable, "-m", "flows.cli", "run", str(path), "--set", f"workspace={place.root}"]


def child_of(place: Workspace, name: str) -> psutil.Process | None:
    """The child process that runs a stage in a workspace."""
    needle = f"{place.root}/stages/{name}/"
    return next((p for p in processes("tasks.child") if needle in " ".join(p.cmdline())), None)


def processes(words: str) -> list[psutil.Process]:
    """Processes whose command line holds some words."""
    found = []
    for process in psutil.process_iter():
        try:
            if words in " ".join(process.cmdline()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def wait_for(ready: Callable[[], Any], what: str) -> Any:
    """Poll until something is so.

    Raises:
        TimeoutError: it did not come.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while not (value := ready()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {WAIT_SECONDS:g} s")
        time.sleep(0.02)
    return value


@contextmanager
def nothing() -> Iterator[dict[str, str]]:
    """No services."""
    yield {}


@contextmanager
def services(path: Path) -> Iterator[dict[str, str]]:
    """`ltx2-lora up` on free ports with a Prefect of its own."""
    with tempfile.TemporaryDirectory(prefix="prefect-") as home:
        port, mlflow_port = free_port(), free_port()
        environment = {
            **os.environ,
            "PREFECT_HOME": home,
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_SERVER_API_PORT": str(port),
        }
        command = [sys.executable, "-m", "flows.cli", "up", "--config", str(path), "--mlflow-port", str(mlflow_port)]
        with (Path(home) / "up.log").open("wb") as log:
            up = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
            try:
                wait_for(lambda: "run it" in (Path(home) / "up.log").read_text(), "`up`")
                yield environment
            finally:
                up.send_signal(signal.SIGINT)
                up.wait(90)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def deployment_run(path: Path, place: Workspace, environment: dict[str, str]) -> str:
    """Start the deployment `ltx2-lora` in another workspace; gives the flow run's id."""
    overrides = json.dumps({"workspace": str(place.root)})
    command = [
        "prefect",
        "deployment",
        "run",
        "ltx2-lora/ltx2-lora",
        "-p",
        f"config={path.resolve()}",
        "-p",
        f"overrides={overrides}",
    ]
    out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return next(line.split("UUID:")[1].strip() for line in out.splitlines() if "UUID:" in line)


def flow_state(run_id: str, environment: dict[str, str]) -> str:
    """State type of a flow run, asked of the API."""
    import urllib.request

    with urllib.request.urlopen(f"{environment['PREFECT_API_URL']}/flow_runs/{run_id}", timeout=10) as reply:
        state: str = json.load(reply)["state_type"]
    return state


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
