"""What tests/conftest.py promises every test."""

import os
import socket
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1]


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


def test_folders_of_tests_are_importable_by_path_alone() -> None:
    """`__init__.py` files would make two `test_errors.py` of different folders one module."""
    assert not list(HERE.rglob("__init__.py"))


def test_no_test_is_set_aside() -> None:
    """A test that cannot pass is a defect to mend, not to mark."""
    marks = ("mark." + "xfail", "mark." + "skip(", "pytest." + "xfail(")
    marked = [str(path) for path in HERE.rglob("test_*.py") if any(mark in path.read_text() for mark in marks)]
    assert not marked
