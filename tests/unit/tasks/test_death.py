"""What is said of a process that ended without a word."""

import subprocess
import sys
from pathlib import Path

from ltx_core.errors import DataError
from tasks.runtime.launch import silent_death

CUT = """
import mmap, os, sys
with open(sys.argv[1], "r+b") as file:
    mapped = mmap.mmap(file.fileno(), 0)
    os.truncate(file.fileno(), 0)
    print(mapped[5000])
"""


def test_a_mapped_file_that_is_cut_is_told_as_such(tmp_path: Path) -> None:
    """Libraries map weights; a process that touches what is gone gets a signal, and no chance to say anything."""
    (tmp_path / "weights").write_bytes(b"1" * 8192)
    ended = subprocess.run([sys.executable, "-c", CUT, str(tmp_path / "weights")], check=False)
    error = silent_death("embed_frames", ended.returncode, None, "log.txt", "End of log.txt:\n")
    assert isinstance(error, DataError)
    assert "was cut short meanwhile" in str(error)
    assert "copy or download anew what was changed" in str(error)
