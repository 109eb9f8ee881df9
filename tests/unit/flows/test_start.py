"""The moments before and after a command, in which ctrl-C ends the process without a word."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PRESSED = """
import os, signal, sys

moment, mode = sys.argv[1:]
sys.argv[1:] = ["--help"]

class Pressed:
    def find_spec(self, name, path=None, target=None):
        if name == moment:
            os.kill(os.getpid(), signal.SIGINT)

if mode == "ignored":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.meta_path.insert(0, Pressed())
from flows.__main__ import main
try:
    main()
finally:
    if moment == "at the end":
        os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.mark.parametrize("moment", ["flows.cli", "flows.commands", "tasks.death", "at the end"])
def test_ctrl_c_outside_the_command_ends_it_without_a_traceback(moment: str) -> None:
    ended = _press(moment, "heard")
    assert ended.returncode == -signal.SIGINT
    assert ended.stderr == ""


def test_a_background_job_that_ignores_ctrl_c_goes_on() -> None:
    ended = _press("flows.commands", "ignored")
    assert ended.returncode == 0
    assert "COMMAND" in ended.stdout


def _press(moment: str, mode: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", PRESSED, moment, mode]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
