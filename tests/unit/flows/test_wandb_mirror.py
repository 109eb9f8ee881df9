"""`tracking.wandb` with the real library, in processes of their own, at whose end it has written everything."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

import flows.wandb_mirror
from flows.config import load_config
from flows.plan import prepare, select
from flows.wandb_mirror import NO_HOST
from ltx_core.errors import ConfigError
from tests.unit.flows.conftest import Write
from tests.wandb_records import kept_runs

pytestmark = pytest.mark.whole

RUN = """
import sys
from pathlib import Path
import psutil
from flows.wandb_mirror import start_mirror
from ltx_core.errors import ConfigError

settings = {"train_lora": {"steps": 2}, "datasets": [{"id": "a"}]}
try:
    named = {"project": "mine", "name": "a run", "key": "0123-abc"}
    mirror = start_mirror(Path(sys.argv[1]), **named, settings=settings, say=print)
    mirror.log("train_lora", [("loss", 0.5, 1), ("lr", 0.1, 1), ("loss", 0.25, 2)])
    if len(sys.argv) > 2:
        for process in psutil.Process().children(recursive=True):
            process.kill()
            process.wait()
        for step in (3, 4):
            mirror.log("train_lora", [("loss", 0.2, step)])
    mirror.summarize("train_lora", {"state": "Built", "out": 1})
    mirror.end(succeeded=True)
except ConfigError as error:
    print(error)
"""


def mirrored(folder: Path, mode: str, terminal: int | None = None, *more: str) -> str:
    """What the process says that mirrors a small run; no account is known, and no server of W&B can be reached.

    With a `terminal`, a person may be asked there.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "NETRC"))}
    nobody = {"HOME": str(folder), "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_MODE": mode, "TERM": "xterm"}
    streams = (subprocess.DEVNULL, subprocess.PIPE) if terminal is None else (terminal, terminal)
    return subprocess.run(
        [sys.executable, "-c", RUN, str(folder), *more],
        env=kept | nobody,
        stdin=streams[0],
        stdout=subprocess.PIPE,
        stderr=streams[1],
        text=True,
        check=True,
        timeout=60,
    ).stdout


@pytest.mark.extra
def test_a_library_that_dies_is_told_of_once_and_ends_nothing(tmp_path: Path) -> None:
    said = mirrored(tmp_path, "offline", None, "and its process is killed")
    assert said.count("W&B stopped taking this run") == 1
    assert "`wandb sync` sends it" in said


@pytest.mark.extra
def test_metrics_and_counts_of_a_run(tmp_path: Path) -> None:
    assert mirrored(tmp_path, "offline") == ""
    (kept,) = kept_runs(tmp_path)
    assert kept.history == [
        {"train_lora/step": 1, "train_lora/loss": 0.5, "train_lora/lr": 0.1},
        {"train_lora/step": 2, "train_lora/loss": 0.25},
    ]
    assert (kept.summary["train_lora/state"], kept.summary["train_lora/out"]) == ("Built", 1)
    assert kept.config == {"train_lora.steps": 2, "datasets.0.id": "a"}
    assert (kept.project, kept.name) == ("mine", "a run")
    assert (kept.commit, kept.host) == ("", NO_HOST), "neither the checkout nor the machine is told"
    assert "environment" not in kept.kinds, "nor how the program was called"


def test_without_an_account_the_run_ends_at_once(tmp_path: Path) -> None:
    told = mirrored(tmp_path, "online")
    assert told.startswith("W&B did not begin a run ")
    assert "WANDB_MODE=offline to send it later" in told


@pytest.mark.extra
def test_in_a_terminal_nobody_is_asked_for_an_account(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        told = mirrored(tmp_path, "online", theirs)
    finally:
        os.close(theirs)
        os.close(ours)
    assert told.startswith("W&B did not begin a run (No API key configured")


def test_without_the_library_nothing_is_begun(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows.wandb_mirror, "find_spec", lambda _: None)
    config = load_config(write(tracking={"wandb": True}), {})
    with pytest.raises(ConfigError, match=r"pip install 'ltx2-lora\[wandb\]', or switch it off"):
        prepare(config, select(None, None, force=False))
