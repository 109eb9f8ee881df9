"""Whose a partial file is: of a process of this machine or container, or of one whose processes cannot be seen."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from ltx_core.io.atomic import DAY_SECONDS, owner_mark, remove_leftovers
from ltx_core.process import ProcessRecord

pytestmark = pytest.mark.whole

ROOT = Path(__file__).parents[3]
IN_ANOTHER = """
import json, sys
from pathlib import Path
from ltx_core.io.atomic import remove_leftovers
from ltx_core.process import ProcessRecord
remove_leftovers(Path(sys.argv[1]))
other = ProcessRecord.of(json.loads(sys.argv[2]))
print(other.is_here, other.is_gone())
"""
MARKED = "import os; from ltx_core.io.atomic import owner_mark; print(owner_mark())"


def _python(*words: str) -> list[str]:
    return [sys.executable, "-c", *words]


def _said(words: list[str]) -> str:
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def container() -> list[str]:
    """The beginning of a command that runs with this host name and process numbers of its own, as in a container."""
    words = ["unshare", "--pid", "--fork", "--mount-proc"]
    tried = subprocess.run([*words, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"a PID namespace cannot be made here: {tried.stderr.strip()}")
    return words


def test_a_writer_in_another_container_of_this_name_keeps_what_it_writes(container: list[str], tmp_path: Path) -> None:
    mine = tmp_path / f".partial-{owner_mark()}-a.json"
    mine.write_text("half")
    said = _said([*container, *_python(IN_ANOTHER, str(tmp_path), json.dumps(asdict(ProcessRecord.own())))])
    assert mine.read_text() == "half"
    assert said == "False False", "of its processes nothing is known there"


def test_what_a_process_left_goes_and_what_another_container_left_does_when_it_is_a_day_old(tmp_path: Path) -> None:
    here, elsewhere = _said(_python(MARKED)), "0123abcd-7-7"
    left = [tmp_path / f".partial-{mark}-a.json" for mark in (here, elsewhere)]
    for path in left:
        path.write_text("half")
    remove_leftovers(tmp_path)
    assert [path.exists() for path in left] == [False, True]
    day_ago = time.time() - DAY_SECONDS - 60
    os.utime(left[1], (day_ago, day_ago))
    remove_leftovers(tmp_path)
    assert not left[1].exists()
