"""Spare processes do what they are given, end with the stage's process, and fail alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HOLDER = """
import sys, time
from pathlib import Path
from tasks.runtime import child, messages, spare
from ltx_core.progress import SILENT

folder = Path(sys.argv[1])
messages.read_request = lambda request: request
spare.fork_spares(folder / "request", 2)
one, other = spare.take_spare(), spare.take_spare()
assert spare.take_spare() is None
one.start(sys.argv[2], sys.argv[3], name="done")
(folder / "pids").write_text(f"{one._pid} {other._pid}")
one.wait(SILENT, "waiting")
other.wait(SILENT, "waiting for one that has no work")
print((folder / "done").exists(), flush=True)
time.sleep(60)
"""
WORK = """
import os
def write(request, words):
    (request.parent / words["name"]).write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "none"))
def fail(request, words):
    raise ValueError("out of luck")
"""


@pytest.fixture
def started(tmp_path: Path) -> object:
    """Starts a process with two spare ones, of which one does some work of the module `luck`."""
    (tmp_path / "luck.py").write_text(WORK)
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text("#!/bin/sh\n")
    smi.chmod(0o755)
    running: list[subprocess.Popen[str]] = []

    def start(work: str) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "PATH": f"{smi.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": f"{Path.cwd()}{os.pathsep}{tmp_path}",
            "CUDA_VISIBLE_DEVICES": "7",
        }
        command = [sys.executable, "-c", HOLDER, str(tmp_path), "luck", work]
        running.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_it_works_and_is_waited_for(started: object, tmp_path: Path) -> None:
    assert callable(started)
    process = started("write")
    assert process.stdout.readline().strip() == "True"
    assert (tmp_path / "done").read_text() == "7"


def test_one_that_fails_says_so_and_nobody_waits(started: object, tmp_path: Path) -> None:
    assert callable(started)
    process = started("fail")
    assert process.stdout.readline().strip() == "False"
    process.kill()
    _, said = process.communicate()
    assert "nothing was compiled beside the stage: ValueError: out of luck" in said


def test_all_end_with_the_process(started: object, tmp_path: Path) -> None:
    assert callable(started)
    process = started("write")
    process.stdout.readline()
    idle = int((tmp_path / "pids").read_text().split()[1])
    os.kill(idle, 0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while _is_there(idle) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_there(idle)


def _is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
