"""Who waits for a folder is told who works in it, and waits no longer than that one lives."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ltx_core.errors import Stopped
from ltx_core.io.lock import folder_lock
from ltx_core.progress import SILENT, Silent

pytestmark = pytest.mark.whole

HOLDER = """
import sys
from pathlib import Path
from ltx_core.io.lock import folder_lock
from ltx_core.progress import SILENT
with folder_lock(Path(sys.argv[1]), SILENT, sys.argv[2] or None):
    print("held", flush=True)
    sys.stdin.read()
"""


class Told(Silent):
    """Keeps what is said, and when; asked to stop by the test."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.seconds: list[float] = []
        self.began = time.monotonic()
        self.asked = threading.Event()
        self.heard = threading.Event()

    @property
    def stopping(self) -> bool:  # type: ignore[override]  # Silent never stops; this one may
        return self.asked.is_set()

    def note(self, message: str) -> None:
        self.notes.append(message)
        self.seconds.append(time.monotonic() - self.began)
        self.heard.set()


def hold(folder: Path, doing: str = "split in /data/ann") -> "subprocess.Popen[str]":
    """Another process that holds the folder until it is killed."""
    command = [sys.executable, "-c", HOLDER, str(folder), doing]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def holder(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    with hold(tmp_path) as process:
        yield process
        process.kill()


def test_who_waits_is_told_of_whom_and_since_when(tmp_path: Path, holder: "subprocess.Popen[str]") -> None:
    told = Told()
    threading.Thread(target=lambda: told.heard.wait(60) and told.asked.set()).start()
    with pytest.raises(Stopped, match=f"stopped while waiting for {tmp_path}"), folder_lock(tmp_path, told):
        pass
    (note,) = told.notes
    named = re.escape(f"process {holder.pid} (split in /data/ann) since ")
    assert re.fullmatch(rf"waiting for {re.escape(str(tmp_path))}: {named}\d\d:\d\d:\d\d works in it", note)


def test_the_lock_of_a_killed_process_is_free_though_its_word_stays(
    tmp_path: Path, holder: "subprocess.Popen[str]"
) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert f'"pid": {holder.pid}' in (tmp_path / ".lock").read_text()
    told = Told()
    with folder_lock(tmp_path, told):
        assert f'"pid": {os.getpid()}' in (tmp_path / ".lock").read_text()
    assert told.notes == []
    assert (tmp_path / ".lock").read_text() == ""


@pytest.mark.parametrize("left", [b"", b"\xff\xfe", b"[]", b'{"process": 3}', b"{" * 5000])
def test_a_holder_that_left_no_word_is_told_as_such(
    tmp_path: Path, holder: "subprocess.Popen[str]", left: bytes
) -> None:
    (tmp_path / ".lock").write_bytes(left)
    told = Told()
    threading.Thread(target=lambda: told.heard.wait(60) and told.asked.set()).start()
    with pytest.raises(Stopped), folder_lock(tmp_path, told):
        pass
    assert told.notes == [f"waiting for {tmp_path}: a process that left no word works in it"]


def test_a_command_is_named_by_its_words(tmp_path: Path) -> None:
    with hold(tmp_path, "") as process:
        told = Told()
        threading.Thread(target=lambda: told.heard.wait(60) and told.asked.set()).start()
        with pytest.raises(Stopped), folder_lock(tmp_path, told):
            pass
        process.kill()
    assert f"process {process.pid} ({sys.executable} -c " in told.notes[0]


def test_a_lock_that_cannot_be_explained_is_held_all_the_same(tmp_path: Path) -> None:
    """`gc` takes locks on a full disk, to make room."""
    (tmp_path / ".lock").symlink_to("/dev/full")
    with folder_lock(tmp_path, SILENT):
        other = Told()
        other.asked.set()
        with pytest.raises(Stopped), folder_lock(tmp_path, other):
            pass
