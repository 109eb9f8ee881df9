"""For every test: quiet libraries, no network, nothing written to the user's home; a test's marker is its folder."""

import gc
import os
import re
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from ltx_core.io.lock import folder_lock
from ltx_core.progress import Silent
from tasks.tracking.mlflow import SETTINGS
from tests.process_state import differences, process_state

WORKER = os.environ.get("PYTEST_XDIST_WORKER")
"""The name of this process, if it is one of several that share the tests; they inherit the first one's environment."""
if WORKER is None:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # where pytest keeps its own folders
    os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="ltx2-lora-tests-")
    tempfile.tempdir = None  # found anew, from the line above
TEMPORARY = Path(os.environ["TMPDIR"])
"""Where tests, the processes they start and all libraries put what they leave behind; deleted at the end."""
PREFECT_HOME = TEMPORARY / f"prefect-{WORKER or 'home'}"
PREFECT_HOME.mkdir()
QUIET = {
    "OMP_NUM_THREADS": "1",
    # glibc keeps freed memory up to here: else large tensors, and what was freed at the heap's end, are new pages again
    "MALLOC_MMAP_THRESHOLD_": str(2**28),
    "MALLOC_TRIM_THRESHOLD_": str(2**28),
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    **SETTINGS,  # which a process of ours sets for MLflow
    "PREFECT_HOME": str(PREFECT_HOME),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
NOT_INHERITED = ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_PROFILE", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID")
OUR_VARIABLES = "LTX2_"
KEPT = "LTX2_GOLDEN_DIR"
"""Says where the golden data lie; everything else of ours would change what is tested."""

# Here and not in a fixture: torch, prefect and mlflow read these when they are imported, which collection does.
for variable in [
    name for name in os.environ if name in NOT_INHERITED or (name.startswith(OUR_VARIABLES) and name != KEPT)
]:
    del os.environ[variable]
os.environ.update(QUIET)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so would children

FLOWS = "flows"
EXTRA = "extra"
TYPED = ("test_under_server.py", "test_tracking_away.py")
ALONE = ("test_terminal.py", "test_up_down.py")
"""Of the flows: runs that are typed, on a server without a worker, and files that use neither server; so other
processes can have them."""
MARKED_FOLDERS = {"numerics": "numerics", FLOWS: "flow", "numerics/benchmarks": EXTRA, "browser": EXTRA}
OF_A_FILE, MARKER = re.compile(r"^pytestmark = (.*)$", re.M), re.compile(r"pytest\.mark\.(\w+)")
HERE = Path(__file__).parent
LOOPBACK = ("127.", "::1", "localhost")
WriteOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collection imports torch, diffusers, Prefect and MLflow: millions of objects that stay. The collector of cycles,
    which would go through them again and again, rests meanwhile (a quarter of the time), and looks at them no more.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A folder, or a file all of whose tests have a marker, is not imported where that marker is not asked for: most
    of them import what takes seconds.
    """
    markers = [MARKED_FOLDERS.get(collection_path.relative_to(HERE).as_posix())]
    if collection_path.suffix == ".py":
        markers += [name for line in OF_A_FILE.findall(collection_path.read_text()) for name in MARKER.findall(line)]
    return True if any(marker and f"not {marker}" in config.option.markexpr for marker in markers) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its folders, so that no one forgets it."""
    for item in items:
        for folder in item.path.relative_to(HERE).parents:
            if marker := MARKED_FOLDERS.get(folder.as_posix()):
                item.add_marker(marker)


@pytest.hookimpl(optionalhook=True)  # without xdist there is nothing to share out
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A process takes a file at a time, whose tests share what its fixtures made; flows that share a server are taken
    as one. (xdist 3.8's `loadgroup` sees no group under pytest 9.2.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = Path(nodeid.partition("::")[0])
            is_flow = path.parent.name == FLOWS and path.parent.parent.name != "unit"
            if not is_flow or path.name in ALONE:
                return path.as_posix()
            return "typed flows" if path.name in TYPED else FLOWS

    return ByFile(config, log)


def pytest_unconfigure() -> None:
    """Take away what was left behind, once every process is done."""
    if WORKER is None:
        shutil.rmtree(TEMPORARY, ignore_errors=True)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Generator[None, None, None]:
    """Fail the test that leaves a switch of the process as it was not: later tests would give other numbers."""
    before = process_state()
    yield
    if left := differences(before, process_state()):
        pytest.fail("\n".join(left))


@pytest.fixture(autouse=True)
def no_network(nothing_left_behind: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection but to this machine, whatever library asks.

    After `nothing_left_behind`, so that what is patched for a test is as before when that one looks.
    """
    for method in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, method, _local_only(getattr(socket.socket, method)))


def _local_only(connect: Callable[[socket.socket, Any], Any]) -> Callable[[socket.socket, Any], Any]:
    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(LOOPBACK):
            raise PermissionError(f"a test wants to connect to {address}; tests do not use the network")
        return connect(self, address)

    return guarded


@pytest.fixture(scope="session")
def written_once(tmp_path_factory: pytest.TempPathFactory) -> WriteOnce:
    """`written_once(name, write)`: a folder that `write` fills in one test process; the others wait and read it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if WORKER else base

    def once(name: str, write: Callable[[Path], object]) -> Path:
        folder, whole = shared / name, shared / f"{name}.lock" / "whole"
        with folder_lock(whole.parent, Silent()):
            if not whole.exists():
                folder.mkdir()
                write(folder)
                whole.touch()
        return folder

    return once
