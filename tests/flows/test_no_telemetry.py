"""Nothing about how this is used leaves the machine, unless the user asks for it."""

import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

import pytest

from flows import NO_TELEMETRY
from tests.connections import asked_for, leaving, looked_at, watched
from tests.flows.lab import Lab

IMPORTS = "import flows.cli.app, prefect, time; time.sleep(2)"
"""What a run in a terminal imports, and time for a thread that would tell of it."""
OPTED_IN = {"DO_NOT_TRACK": "0", "MLFLOW_DISABLE_TELEMETRY": "false", "PREFECT_SERVER_ANALYTICS_ENABLED": "true"}
SHOW = f"import flows, os; print(*(os.environ[name] for name in {tuple(NO_TELEMETRY)!r}))"


def _at_a_terminal(code: str, folder: Path, more: Mapping[str, str]) -> None:
    """Prefect's client tells of a new user at a terminal alone, in a folder that names no server."""
    ours, theirs = pty.openpty()
    environment = watched(os.environ, folder) | {"PREFECT_HOME": str(folder / "home")} | more
    try:
        subprocess.run(
            [sys.executable, "-c", code], cwd=folder, stdout=theirs, stderr=theirs, env=environment, check=True
        )
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_run_at_a_terminal_tells_nobody(tmp_path: Path) -> None:
    _at_a_terminal(IMPORTS, tmp_path, {})
    assert leaving(tmp_path) == []


@pytest.mark.extra
def test_the_recorder_sees_what_a_user_who_asks_for_it_sends(tmp_path: Path) -> None:
    """Else the test above could not fail. It is written down and refused."""
    _at_a_terminal(IMPORTS, tmp_path, OPTED_IN)
    assert leaving(tmp_path), asked_for(tmp_path)


def test_a_whole_run_tells_nobody(lab: Lab, finished: UUID) -> None:
    """Worker, flow and the process that all stages' are forked from, with its hook: they speak with Prefect's server
    alone."""
    assert finished
    assert "tasks.runtime.fork_server" in looked_at(lab.watched)
    assert any("prefect" in line for line in asked_for(lab.watched))
    assert leaving(lab.watched) == []


@pytest.mark.parametrize(("given", "kept"), [({}, NO_TELEMETRY), (OPTED_IN, OPTED_IN)])
def test_a_user_s_choice_is_kept(tmp_path: Path, given: Mapping[str, str], kept: Mapping[str, str]) -> None:
    environment = watched(os.environ, tmp_path) | given
    shown = subprocess.run([sys.executable, "-c", SHOW], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == [kept[name] for name in NO_TELEMETRY]
