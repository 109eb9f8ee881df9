"""The process that imports what stages import and forks theirs: what it may not touch, what it shares, how it ends.

What a stage's process itself promises: test_child.py.
"""

import ast
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from ltx_core.errors import Stopped
from tasks import STAGES, stage_named
from tasks.runtime.launch import StageDied, launch
from tasks.runtime.stage import StageRun
from tasks.runtime.stage_process import end_servers, imports_of
from tests.processes import stage_process
from tests.repo.source import ROOT, nodes, tree
from tests.stages.bench import Bench, write_clip
from tests.stages.test_child import Listener

pytestmark = pytest.mark.whole

NUM_FILES = 4
END_SECONDS = 15.0
TELLING = """
import os
from tasks.runtime import child
main = child.main

def telling():
    print("variables:", os.environ.get("LTX2_MLFLOW_RUN_ID"), flush=True)
    print("GPUs:", os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("PYTORCH_NVML_BASED_CUDA_CHECK"), flush=True)
    main()
child.main = telling
"""
IMPORTING = """
import json, os, sys, threading
from importlib import import_module
from tasks.runtime.fork_server import EVERY_CHILD, NO_GPU
os.environ.update(NO_GPU)
import torch
asked = []
for name in ("_raw_device_count_nvml", "_raw_device_uuid_nvml", "init", "_lazy_init", "get_device_capability"):
    setattr(torch.cuda, name, lambda *_, name=name: asked.append(name) or 0)
torch._C._cuda_getDeviceCount = lambda: asked.append("getDeviceCount") or 0
torch._C._cuda_getCurrentRawStream = None
torch.cuda._is_compiled = lambda: True
torch.accelerator.current_accelerator = lambda *_, **__: torch.device("cuda")
from tasks import STAGES
for name in (*EVERY_CHILD, *(name for stage in STAGES for name in stage.imports)):
    import_module(name)
native = {open(f"/proc/self/task/{number}/comm").read().strip() for number in os.listdir("/proc/self/task")}
opened = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
print(json.dumps({
    "asked": asked,
    "initialized": torch.cuda.is_initialized(),
    "devices": [name for name in opened if "nvidia" in name],
    "threads": [thread.name for thread in threading.enumerate()],
    "native": sorted(native - {open("/proc/self/comm").read().strip()}),
}))
"""


@pytest.fixture
def execution(empty: Bench, tmp_path: Path) -> StageRun:
    """`split`, about to run on a few files; no stage of it loads torch."""
    for number in range(NUM_FILES):
        write_clip(tmp_path / "footage", f"{number}.mp4", "rolling_ball", width=64 + 2 * number)
    bench = empty.but(footage=tmp_path / "footage", workspace=tmp_path / "workspace")
    bench = bench.set(split__remove_duplicates=False, split__contact_sheet_clips=0)
    return bench.due(stage_named("split"), bench.run("probe"))


def test_what_it_imports_touches_no_gpu_and_starts_no_thread() -> None:
    """Neither outlasts a fork. PyTorch is made to believe that it was built for CUDA, as it is where there is a GPU: so
    a library that looks for one would reach its driver. jemalloc, Arrow's allocator, is the one library whose thread it
    does stop for a fork."""
    done = subprocess.run([sys.executable, "-c", IMPORTING], check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        '{"asked": [], "initialized": false, "devices": [], "threads": ["MainThread"], "native": ["jemalloc_bg_thd"]}'
    )


def test_a_stage_names_all_that_its_body_imports() -> None:
    """What stands under `loading()` takes long to import, and would be imported again for each stage."""
    for stage in [stage for stage in STAGES if stage.device == "gpu"]:
        source = Path(*type(stage).__module__.split(".")).with_suffix(".py")
        above = {node.module for node in tree(source).body if isinstance(node, ast.ImportFrom)}
        blocks = [node for node in nodes(source) if isinstance(node, ast.With)]
        loading = [block for block in blocks if ast.unparse(block.items[0].context_expr) == "loading()"]
        wanted = {node.module for block in loading for node in block.body if isinstance(node, ast.ImportFrom)}
        assert wanted - above == {*stage.imports} - {"torch"}, stage.name


@pytest.mark.extra
def test_it_imports_for_later_stages_while_one_works(execution: StageRun) -> None:
    """So the one that works has none of it, and the next is forked with it."""
    mapped: dict[str, bool] = {}

    def wait() -> None:
        child = stage_process(psutil.Process())
        server = child.parent()
        assert server is not None
        _wait_for(lambda: _has_torch(server.pid))
        mapped["now"] = _has_torch(child.pid)

    launch(replace(execution, later=(stage_named("embed_text"),)), Listener(at=1, then=wait))
    launch(
        replace(execution, force=True),
        Listener(at=1, then=lambda: mapped.update(next=_has_torch(stage_process(psutil.Process()).pid))),
    )
    assert mapped == {"now": False, "next": True}


def test_nothing_is_imported_while_the_next_stage_needs_nothing() -> None:
    """The server forks nothing while it imports, and a stage that reads footage would wait for PyTorch."""
    split, texts = stage_named("split"), stage_named("embed_text")
    assert imports_of((split, texts)) == []
    assert imports_of((texts, split)) == list(texts.imports)
    assert imports_of(()) == []


def _has_torch(pid: int) -> bool:
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.extra
def test_what_cannot_be_imported_for_a_later_stage_harms_none_before(
    execution: StageRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "patch").mkdir()
    (tmp_path / "patch" / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'patch'}{os.pathsep}{ROOT}")
    assert launch(replace(execution, later=(stage_named("embed_text"),)), Listener()).num_out == NUM_FILES
    _wait_for(lambda: "import of torch halted" in (execution.out / "log.txt").read_text())


@pytest.mark.extra
def test_one_serves_many_stages_and_another_takes_the_place_of_one_that_ended(execution: StageRun) -> None:
    servers: list[psutil.Process] = []

    def note() -> None:
        server = stage_process(psutil.Process()).parent()
        assert server is not None
        servers.append(server)

    for _ in range(2):
        launch(replace(execution, force=True), Listener(at=1, then=note))
    servers[0].kill()
    servers[0].wait(END_SECONDS)  # by waitpid: /proc calls it a zombie while threads of it are still ending
    launch(replace(execution, force=True), Listener(at=1, then=note))
    assert servers[0] == servers[1] != servers[2]


def test_a_variable_of_ours_reaches_the_next_stage_by_the_same_server(
    execution: StageRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`register` is told its run in MLflow so, and would else wait for another server's imports."""
    (tmp_path / "patch").mkdir()
    (tmp_path / "patch" / "sitecustomize.py").write_text(TELLING)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'patch'}{os.pathsep}{ROOT}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    servers = set[int]()
    for value in ("first", None):
        if value:
            monkeypatch.setenv("LTX2_MLFLOW_RUN_ID", value)
        else:
            monkeypatch.delenv("LTX2_MLFLOW_RUN_ID")
        told = Listener(at=1, then=lambda: servers.add(stage_process(psutil.Process()).ppid()))
        launch(replace(execution, force=True), told)
    assert len(servers) == 1
    log = (execution.out / "log.txt").read_text()
    assert re.findall("variables: (.*)", log) == ["first", "None"]
    assert re.findall("GPUs: (.*)", log) == ["5 None", "5 None"]


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *(pytest.param(one, marks=pytest.mark.extra) for one in (signal.SIGINT, signal.SIGHUP))]
)
def test_what_is_meant_for_the_run_does_not_end_it(execution: StageRun, number: signal.Signals) -> None:
    """A service manager sends SIGTERM to all processes of the run."""

    def send() -> None:
        server = stage_process(psutil.Process()).parent()
        assert server is not None
        server.send_signal(number)

    assert launch(execution, Listener(at=1, then=send)).num_out == NUM_FILES


def test_a_stage_ends_with_it_and_the_end_is_told(execution: StageRun) -> None:
    seen: list[psutil.Process] = []

    def kill() -> None:
        child = stage_process(psutil.Process())
        server = child.parent()
        assert server is not None
        child.suspend()  # so that it ends by the signal, and not because it is done
        seen.extend([child, server])
        server.kill()
        child.resume()

    with pytest.raises(Stopped, match=r"the process of split was killed from outside \(SIGKILL\)"):
        launch(execution, Listener(at=1, then=kill))
    assert psutil.wait_procs([seen[0]], timeout=END_SECONDS)[1] == []
    assert launch(execution, Listener()).reused >= 1


def test_it_ends_with_this_process_s_wish(execution: StageRun) -> None:
    servers: list[psutil.Process] = []

    def note() -> None:
        server = stage_process(psutil.Process()).parent()
        assert server is not None
        servers.append(server)

    launch(execution, Listener(at=1, then=note))
    assert servers[0].is_running()
    end_servers()
    assert not servers[0].is_running()


def test_one_that_cannot_start_is_told_with_the_log(
    execution: StageRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "patch").mkdir()
    (tmp_path / "patch" / "sitecustomize.py").write_text("import sys\nsys.modules['pydantic'] = None\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'patch'}{os.pathsep}{ROOT}")
    with pytest.raises(StageDied, match=r"(?s)ended with exit code 1 and no word. End of .*import of pydantic halted"):
        launch(execution, Listener())


def _wait_for(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.05)
