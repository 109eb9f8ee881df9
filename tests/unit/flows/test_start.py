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
sys.argv[1:] = [*(["stages"] if moment == "flows.cli.run" else []), "--help"]

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
UNRAISABLE = """
import os, signal, sys, time, weakref
from flows.cli.app import carried_out
from flows.signals import ended_by_signals

if signal.getsignal(number := getattr(signal, sys.argv[1])) is signal.SIG_IGN:
    signal.signal(number, signal.SIG_DFL)  # as under nohup, where this would be left ignored

class Thing:
    pass

def run():
    thing = Thing()
    reference = weakref.ref(thing, lambda _: os.kill(os.getpid(), getattr(signal, sys.argv[1])))
    del thing
    time.sleep(30)
    return 0

with ended_by_signals():
    sys.exit(carried_out(run))
"""


@pytest.mark.parametrize(
    "name", ["SIGTERM", *(pytest.param(name, marks=pytest.mark.whole) for name in ("SIGINT", "SIGHUP"))]
)
def test_a_signal_that_comes_in_a_destructor_is_heard(name: str) -> None:
    words = [sys.executable, "-c", UNRAISABLE, name]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 128 + signal.Signals[name]
    assert ended.stderr == "interrupted; what was finished is kept, run again to go on\n"


@pytest.mark.parametrize("moment", ["flows.cli", "flows.cli.app", "flows.cli.run", "at the end"])
def test_ctrl_c_outside_the_command_ends_it_without_a_traceback(moment: str) -> None:
    ended = _press(moment, "heard")
    assert ended.returncode == -signal.SIGINT
    assert ended.stderr == ""


def test_a_background_job_that_ignores_ctrl_c_goes_on() -> None:
    ended = _press("flows.cli.app", "ignored")
    assert ended.returncode == 0
    assert "COMMAND" in ended.stdout


def _press(moment: str, mode: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", PRESSED, moment, mode]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
