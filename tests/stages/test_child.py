"""The child process of a stage: how it ends, what it leaves, and what its task is told."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from ltx_core.errors import DataError, OutOfMemory, Stopped
from tasks import stage_named
from tasks.runtime.execute import read_summary
from tasks.runtime.launch import launch
from tasks.runtime.messages import write_request
from tasks.runtime.stage import StageRun
from tests.processes import stage_process
from tests.stages.bench import Bench, copied, perform, write_clip

pytestmark = pytest.mark.whole

ROOT = Path(__file__).parents[2]
NUM_FILES = 24
PARENT_DEATH_SECONDS = 15.0
Patch = Callable[[str], None]


class Listener:
    """Remembers what it was told, and calls `then` when `at` items are done."""

    def __init__(self, at: int = 0, then: Callable[[], None] | None = None) -> None:
        self.at, self.then = at, then
        self.reasons: list[str] = []
        self.notes: list[str] = []
        self.progress: list[tuple[int, int, str]] = []

    def started(self, stage: str, why: str) -> None:
        self.reasons.append(why)

    def advanced(self, stage: str, done: int, total: int, unit: str) -> None:
        self.progress.append((done, total, unit))
        if self.then is not None and done >= self.at:
            then, self.then = self.then, None
            then()

    def measured(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        return

    def noted(self, stage: str, message: str) -> None:
        self.notes.append(message)

    def shown(self, stage: str, page: Path) -> None:
        return


@pytest.fixture(scope="session")
def many(empty: Bench, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Files enough that `split` is still busy when something happens to it; no stage of it loads torch. Probed."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(NUM_FILES):
        write_clip(folder / "footage", f"{number:02d}.mp4", "rolling_ball", width=64 + 2 * number)
    bench = empty.but(footage=folder / "footage", workspace=folder / "workspace").set(
        split__remove_duplicates=False, split__contact_sheet_clips=0, limits__max_quarantined_fraction=1.0
    )
    bench.run("probe")
    return bench


@pytest.fixture
def execution(many: Bench, tmp_path: Path) -> StageRun:
    """`split`, about to run on what `probe` made of many files."""
    return _split(many.but(workspace=copied(many.workspace, tmp_path / "workspace")))


@pytest.fixture
def patch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Patch:
    """`patch(code)`: run `code` in the program before anything else, as a broken or talkative library would."""

    def write(code: str) -> None:
        folder = tmp_path / "patch"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{ROOT}")

    return write


def test_it_reports_and_returns_the_counts(execution: StageRun) -> None:
    listener = Listener()
    summary = launch(execution, listener)
    manifest = execution.manifest
    assert listener.reasons == ["never run"]
    assert listener.progress[-1] == (NUM_FILES, NUM_FILES, "files")
    assert [done for done, _, _ in listener.progress] == sorted(done for done, _, _ in listener.progress)
    assert summary == read_summary(manifest)
    assert summary.num_out == len(manifest) == NUM_FILES


def test_compilers_keep_what_they_make_in_the_workspace(
    execution: StageRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Set before the child begins, so before it imports torch; what a user has set holds."""
    seen: dict[str, str] = {}
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "own"))
    launch(execution, Listener(at=1, then=lambda: seen.update(_child().environ())))
    assert Path(seen["TORCHINDUCTOR_CACHE_DIR"]) == execution.workspace.root / "cache" / "compile" / "inductor"
    assert Path(seen["TRITON_CACHE_DIR"]) == tmp_path / "own"


def test_sigterm_ends_it_with_stopped_and_keeps_finished_items(execution: StageRun) -> None:
    listener = Listener(at=3, then=lambda: _child().terminate())
    with pytest.raises(Stopped, match="stopped while splitting; what was finished is kept, run again"):
        launch(execution, listener)
    _assert_goes_on(execution, at_least=3)


def test_whatever_is_raised_here_ends_it_first(execution: StageRun, fork: Patch) -> None:
    """Ctrl-C, a cancelled flow run, a timeout."""
    children: list[psutil.Process] = []

    def interrupt() -> None:
        children.append(_child())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch(execution, Listener(at=3, then=interrupt))
    assert not children[0].is_running()
    _assert_goes_on(execution, at_least=3)


def test_after_ctrl_c_all_it_still_says_is_told(execution: StageRun, fork: Patch) -> None:
    """It comes while the child is at its fourth file, which is finished and kept: no later try tells of it."""
    fork(
        "import itertools, os, psutil, signal, time, tasks.runtime.messages as r, tasks.stages.split as s\n"
        "kept, calls, stop, asked = s.as_kept, itertools.count(1), r.Reporter._stop, []\n"
        "def heard(*a): asked.append(stop(*a))\n"
        "def interrupting(*a):\n"
        "    if next(calls) == 4:\n"
        "        psutil.Process().parent().parent().send_signal(signal.SIGINT)\n"
        "        time.sleep(r.ADVANCE_INTERVAL_SECONDS)\n"  # sooner it would not say how far it is
        "        while not asked: time.sleep(0.01)\n"
        "    return kept(*a)\n"
        "r.Reporter._stop, s.as_kept = heard, interrupting\n"
    )
    listener = Listener()
    with pytest.raises(KeyboardInterrupt):
        launch(execution, listener)
    assert listener.progress[-1] == (4, NUM_FILES, "files")
    assert perform(execution).summary.reused == 4


def test_killed_from_outside_is_told_as_such(execution: StageRun, fork: Patch) -> None:
    with pytest.raises(
        Stopped, match=r"split was killed from outside \(SIGKILL\).*run again to go on.*log.txt"
    ) as told:
        launch(execution, Listener(at=3, then=lambda: _child().kill()))
    assert "memory" not in str(told.value)
    _assert_goes_on(execution, at_least=3)


@pytest.fixture
def small_group(tmp_path: Path) -> Iterator[Path]:
    """A control group of 512 MiB, which needs root; the file that takes the processes that are to share them."""
    parent = Path("/sys/fs/cgroup/memory") / own_group("memory")
    folder = parent / f"ltx2-lora-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(2**29))
    except OSError as error:
        pytest.skip(f"no control group of version 1 can be made here: {error}")
    yield folder / "cgroup.procs"
    deadline = time.monotonic() + 30
    while (folder / "cgroup.procs").read_text() and time.monotonic() < deadline:  # workers end with the child
        time.sleep(0.1)
    folder.rmdir()


@pytest.mark.extra
def test_only_the_kernel_says_that_memory_ran_out(execution: StageRun, patch: Patch, small_group: Path) -> None:
    """The child takes more than there is, and asks to be the one that is ended for it. Another process launches it:
    this one, which holds more, the kernel would end in its stead."""
    patch(
        "import pathlib, tasks.stages.split as s\n"
        "def greedy(*a):\n"
        "    pathlib.Path('/proc/self/oom_score_adj').write_text('1000')\n"
        "    kept = [b'x' * 2**24 for _ in range(64)]\n"
        "s._hold_out = greedy\n"
    )
    words = [sys.executable, "-c", LAUNCHING, write_request(execution), small_group]
    told = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert told.startswith("OutOfMemory: ")
    assert "the kernel ended the process of split, for host memory ran out" in told


def test_sigterm_that_nothing_hears_ends_it_with_stopped_too(execution: StageRun, fork: Patch) -> None:
    """A library keeps it for good, within one call; the time it is given to commit is cut short here."""
    fork(
        "import ctypes, time, tasks.stages.split as s\n"
        "sleep = time.sleep\n"
        "time.sleep = lambda seconds: sleep(min(seconds, 0.3))\n"
        "def stuck(*a):\n"
        "    print('stuck', flush=True)\n"
        "    while True: ctypes.CDLL(None).sleep(3600)\n"
        "s._hold_out = stuck\n"
    )

    def terminate() -> None:
        log = execution.out / "log.txt"
        while not (log.exists() and "stuck" in log.read_text()):
            time.sleep(0.05)
        _child().terminate()

    thread = threading.Thread(target=terminate)
    thread.start()
    with pytest.raises(Stopped, match="stopped, and ended where it was after 10 s; what was finished is kept"):
        launch(execution, Listener())
    thread.join()


def test_what_killed_runs_left_goes_at_the_next_run_of_the_stage(execution: StageRun, fork: Patch) -> None:
    """Of the killed one alone: its request, and what it was writing anywhere."""
    with ThreadPoolExecutor(1) as other:
        request = other.submit(write_request, execution).result()
    killed = subprocess.run([sys.executable, "-c", LEAVING, request], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    stage, pool = execution.out.parent, execution.workspace.store
    left = [*stage.rglob(".partial-*"), *pool.rglob(".partial-*"), *(stage / "requests").glob("*.json")]
    assert len(left) == 5  # with the request of this process, which lives
    launch(execution, Listener())
    assert [path for path in left if path.exists()] == [request]


def test_a_crash_is_told_with_its_signal_and_the_end_of_the_log(execution: StageRun, fork: Patch) -> None:
    fork(
        "import faulthandler, tasks.stages.split as s\n"
        "faulthandler.disable()\n"  # pytest's, which would write to the terminal
        "s.as_kept = lambda *a: faulthandler._sigsegv()\n"
    )
    with pytest.raises(RuntimeError, match=r"the process of split ended with signal SIGSEGV and no word. End of .*log"):
        launch(execution, Listener())


def test_it_ends_with_its_parent_however_that_ends(execution: StageRun) -> None:
    _kill_parent_and_wait(execution)
    _assert_goes_on(execution, at_least=1)


@pytest.mark.extra
def test_a_child_that_hears_nothing_ends_with_its_parent_too(execution: StageRun, patch: Patch) -> None:
    """The second file keeps it in a library for good; the time it is given to commit is cut short here."""
    patch(
        "import itertools, time, tasks.stages.split as s\n"
        "kept, calls, sleep = s.as_kept, itertools.count(), time.sleep\n"
        "time.sleep = lambda seconds: sleep(min(seconds, 0.3))\n"
        "def stuck(*a):\n"
        "    while next(calls): time.sleep(0.05)\n"
        "    return kept(*a)\n"
        "s.as_kept = stuck\n"
    )
    _kill_parent_and_wait(execution)


def test_of_two_at_once_one_computes_and_the_other_waits_and_reuses(
    execution: StageRun, fork: Patch, tmp_path: Path
) -> None:
    """The first goes on with its second file only once the second child said that it waits."""
    told = tmp_path / "told"
    fork(
        "import itertools, pathlib, time, tasks.stages.split as s\n"
        "kept, calls = s.as_kept, itertools.count()\n"
        "def held(*a):\n"
        f"    while next(calls) and not pathlib.Path({str(told)!r}).exists(): time.sleep(0.01)\n"
        "    return kept(*a)\n"
        "s.as_kept = held\n"
    )

    class Waiting(Listener):
        def noted(self, stage: str, message: str) -> None:
            super().noted(stage, message)
            told.touch()

    waiting, second = Waiting(), []
    thread = threading.Thread(target=lambda: second.append(launch(execution, waiting)))
    first = launch(execution, Listener(at=1, then=thread.start))
    thread.join()
    assert second == [first]
    assert first.computed == NUM_FILES
    assert waiting.progress == []
    (note,) = waiting.notes
    who = rf"process \d+ \(split in {re.escape(str(execution.workspace.root))}\) since [\d:]+"
    assert re.fullmatch(rf"waiting for {re.escape(str(execution.out))}: {who} works in it", note)


def test_an_error_of_ours_arrives_as_what_it_was(many: Bench, tmp_path: Path, fork: Patch) -> None:
    """More is too short for this than may be set aside."""
    bench = many.but(workspace=tmp_path / "workspace").set(datasets__0__video__num_frames=33)
    with pytest.raises(
        DataError, match=rf"split quarantined {NUM_FILES} of {NUM_FILES} clips \({NUM_FILES} too_short\)"
    ):
        launch(_split(bench), Listener())


def test_a_defect_is_told_with_the_end_of_the_log(execution: StageRun, fork: Patch) -> None:
    fork("import tasks.stages.split as s\ns.as_kept = lambda *a: 1 / 0\n")
    with pytest.raises(RuntimeError, match="split failed with ZeroDivisionError: division by zero") as caught:
        launch(execution, Listener())
    assert f"End of {execution.out / 'log.txt'}" in str(caught.value)
    assert "in _cut" in str(caught.value)


def test_host_memory_that_runs_out_is_told_as_such(execution: StageRun, fork: Patch) -> None:
    fork("import tasks.stages.split as s\ns.as_kept = lambda *a: bytearray(1 << 62)\n")
    with pytest.raises(OutOfMemory, match="host memory ran out"):
        launch(execution, Listener())


def test_a_child_that_cannot_start_is_told_with_the_end_of_the_log(execution: StageRun, patch: Patch) -> None:
    patch("import sys\nsys.modules['pyarrow'] = None\n")
    with pytest.raises(RuntimeError, match=r"(?s)ended with exit code 1 and no word. End of .*ModuleNotFoundError"):
        launch(execution, Listener())


def test_what_libraries_print_reaches_the_log_and_not_the_events(execution: StageRun, patch: Patch) -> None:
    patch(
        "import os, tasks.stages.split as s\n"
        "kept = s.as_kept\n"
        "def talkative(*a):\n"
        "    print('from python', flush=True); os.write(1, b'from C\\n'); os.system('echo from a program')\n"
        "    return kept(*a)\n"
        "s.as_kept = talkative\n"
    )
    assert launch(execution, Listener()).num_out == NUM_FILES
    log = (execution.out / "log.txt").read_text()
    for source in ("from python", "from C", "from a program"):
        assert log.count(source) == NUM_FILES


def test_the_log_of_an_earlier_try_is_kept(execution: StageRun, fork: Patch) -> None:
    (execution.out).mkdir(parents=True)
    (execution.out / "log.txt").write_text("an earlier try\n")
    fork("import tasks.stages.split as s\ns.as_kept = lambda *a: 1 / 0\n")
    with pytest.raises(RuntimeError):
        launch(execution, Listener())
    assert (execution.out / "log.txt").read_text().startswith("an earlier try\n")


def test_the_request_holds_all_that_the_child_needs(execution: StageRun) -> None:
    request = json.loads(write_request(execution).read_text())
    assert request["stage"] == "split"
    assert request["workspace"] == str(execution.workspace.root)
    assert request["config"] == execution.config.model_dump(mode="json")


LEAVING = """
import os, signal, sys
from pathlib import Path
from ltx_core.io.atomic import atomic_folder, atomic_path
from tasks.runtime.messages import read_request, write_request
run = read_request(Path(sys.argv[1]))
write_request(run)
folder = run.out
with atomic_path(folder.parent / "latest.json") as one, atomic_path(run.workspace.store / "split/a.json") as two:
    one.write_text("{")
    two.write_text("{")
    with atomic_folder(folder / "checkpoints" / "step-1") as three:
        (three / "state.json").write_text("{")
        os.kill(os.getpid(), signal.SIGKILL)
"""
LAUNCHING = """
import os, sys
from pathlib import Path
from tasks.runtime.launch import launch
from tasks.runtime.messages import read_request
class Listener:
    def started(self, *a): pass
    def noted(self, *a): pass
    def advanced(self, *a, **k): pass
Path(sys.argv[2]).write_text(str(os.getpid()))
try:
    launch(read_request(Path(sys.argv[1])), Listener())
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""
PARENT = """
import sys
from pathlib import Path
import psutil
from tasks.runtime.launch import launch
from tasks.runtime.messages import read_request
from tests.processes import stage_process
class Listener:
    def started(self, *a): pass
    def noted(self, *a): pass
    def advanced(self, stage, done, total, unit):
        if done == 1:
            print(stage_process(psutil.Process()).pid, flush=True)
launch(read_request(Path(sys.argv[1])), Listener())
"""


def _split(bench: Bench) -> StageRun:
    return bench.due(stage_named("split"), bench.run("probe"))


def own_group(controller: str) -> str:
    """This process's control group of version 1, without the leading slash; empty if there is none."""
    lines = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    return next((path.lstrip("/") for _, names, path in lines if controller in names.split(",")), "none")


def _child() -> psutil.Process:
    return stage_process(psutil.Process())


def _kill_parent_and_wait(execution: StageRun) -> None:
    """Launch from another process, kill that process once the child is at work, and see the child end."""
    request = write_request(execution)
    with subprocess.Popen([sys.executable, "-c", PARENT, request], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    try:
        child.wait(PARENT_DEATH_SECONDS)
    finally:
        if child.is_running():
            child.kill()


def _assert_goes_on(execution: StageRun, *, at_least: int) -> None:
    """The next run takes what was finished and completes."""
    manifest = execution.manifest
    assert not manifest.exists()
    summary = perform(execution).summary
    assert summary.num_out == NUM_FILES
    assert at_least <= summary.reused < NUM_FILES
    assert manifest.exists()
