"""Where a command's output goes: to a disk that is full, or to a reader who has gone."""

import os
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TextIO

import pytest

from flows.cli.app import main
from tests.unit.flows.conftest import Write

FULL = Path("/dev/full")
"""Takes nothing: every write to it fails as on a full disk."""
SAID = "StorageError: the disk that this command's output goes to is full"


@pytest.mark.parametrize("words", [["stages"], ["gc", "{config}"], ["verify", "{config}"]])
def test_output_that_a_full_disk_lost_is_an_error_in_one_line(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    (tmp_path / "footage").mkdir()
    config = str(write(workspace=str(tmp_path / "workspace")))
    with FULL.open("w") as full, redirect_stdout(full):
        assert main([word.replace("{config}", config) for word in words]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(SAID)


@pytest.mark.whole
@pytest.mark.parametrize(("reader", "code", "said"), [("full disk", 1, SAID), ("gone", 0, "")])
def test_python_has_nothing_to_add_when_the_command_ends(reader: str, code: int, said: str) -> None:
    """It writes what is still buffered then, and complains on its own, with exit code 120."""
    with FULL.open("w") if reader == "full disk" else _pipe_that_nobody_reads() as out:
        ended = subprocess.run(
            [sys.executable, "-m", "flows", "stages"], stdout=out, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ended.returncode == code
    assert len(ended.stderr.splitlines()) == bool(said)
    assert ended.stderr.startswith(said)


def _pipe_that_nobody_reads() -> TextIO:
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")
