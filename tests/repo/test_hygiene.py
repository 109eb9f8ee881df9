"""What tests/conftest.py promises every test."""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1]
LEFT = "left-by-a-test-"


@pytest.mark.parametrize("address", ["192.0.2.1", "93.184.216.34"])
def test_no_connection_leaves_this_machine(address: str) -> None:
    with socket.socket() as outside, pytest.raises(PermissionError, match="tests do not use the network"):
        outside.connect((address, 443))


def test_this_machine_may_be_connected_to() -> None:
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())


def test_nothing_is_written_to_the_home_folder() -> None:
    home = Path(os.environ["PREFECT_HOME"])
    assert home.is_dir()
    assert home.parent == Path(tempfile.gettempdir())


@pytest.mark.extra
@pytest.mark.whole
def test_a_run_of_tests_leaves_nothing_but_the_folders_that_pytest_keeps(tmp_path: Path) -> None:
    """Its tests, and processes that they start, put what they do not take away where it goes at the end."""
    environment = {n: v for n, v in os.environ.items() if not n.startswith("PYTEST_")} | {"TMPDIR": str(tmp_path)}
    chosen = f"{__file__}::{test_what_is_left_in_the_folder_of_temporary_files.__name__}"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-n1", "-p", "no:cacheprovider", chosen],
        cwd=HERE.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in ran.stdout, ran.stdout + ran.stderr
    assert [path.name.partition("-of-")[0] for path in tmp_path.iterdir()] == ["pytest"]


def test_what_is_left_in_the_folder_of_temporary_files(tmp_path: Path) -> None:
    """What the test above sees the end of; `tmp_path` is not there, so that pytest keeps it."""
    left = f"import tempfile; print(tempfile.mkdtemp(prefix='{LEFT}'))"
    made = subprocess.run([sys.executable, "-c", left], capture_output=True, text=True, check=True).stdout.strip()
    assert Path(made).parent == Path(tempfile.gettempdir())
    assert not tmp_path.is_relative_to(tempfile.gettempdir())


def test_folders_of_tests_are_importable_by_path_alone() -> None:
    """`__init__.py` files would make two `test_errors.py` of different folders one module."""
    assert not list(HERE.rglob("__init__.py"))


def test_no_test_is_set_aside() -> None:
    """A test that cannot pass is a defect to mend, not to mark."""
    marks = ("mark." + "xfail", "mark." + "skip(", "pytest." + "xfail(")
    marked = [str(path) for path in HERE.rglob("test_*.py") if any(mark in path.read_text() for mark in marks)]
    assert not marked
