"""Tiny footage, the miniature model, and workspaces in which all stages ran; each made once for all test processes."""

import json
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from ltx_core.media import workers
from tasks.runtime import child
from tasks.runtime.stage_process import end_servers
from tests.processes import Forked
from tests.stages.bench import CAPTIONS, EVERY_STAGE, SCENES, Bench, Results, copied, write_clip
from tests.stages.media_openers import MediaOpeners

WriteOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def footage(written_once: WriteOnce) -> Path:
    """Five files of one clip each. Do not change it."""

    def write(folder: Path) -> None:
        for scene in SCENES:
            write_clip(folder, f"{scene}.mp4", scene)

    return written_once("footage", write)


@pytest.fixture(scope="session")
def model(written_once: WriteOnce) -> Path:
    """The miniature model: `checkpoint.safetensors`, the text encoder in `gemma`, a vision encoder in `dinov2`, and a
    model that writes captions in `captioner`. Do not change it."""

    def write(folder: Path) -> None:
        from ltx_core.tiny.gemma import write_gemma
        from ltx_core.tiny.model import write_checkpoint
        from tests.captioner import write_captioner
        from tests.vision import write_dinov2

        write_checkpoint(folder / "checkpoint.safetensors", "2.0", 0)
        write_gemma(folder / "gemma", 0)
        write_dinov2(folder / "dinov2")
        write_captioner(folder / "captioner")

    return written_once("model", write)


@pytest.fixture(scope="session")
def empty(footage: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A workspace in which nothing ran yet, on the shared footage; take `.but(workspace=...)` of it."""
    nowhere = tmp_path_factory.getbasetemp() / "not there"
    return Bench(footage, model / "checkpoint.safetensors", model / "gemma", nowhere, vision=model / "dinov2")


@pytest.fixture(scope="session")
def finished(empty: Bench, written_once: WriteOnce) -> Bench:
    """A workspace in which every stage ran. Do not change it."""
    return empty.but(
        workspace=written_once("finished", lambda folder: empty.but(workspace=folder).run(EVERY_STAGE[-1]))
    )


@pytest.fixture(scope="session")
def results(finished: Bench) -> Results:
    """What the stages made there."""
    return finished.run(EVERY_STAGE[-1])


@pytest.fixture(scope="session")
def captioned(empty: Bench, model: Path, written_once: WriteOnce) -> Bench:
    """A workspace up to the captions of footage with a clip that has none beside its file. Do not change it."""

    def write(folder: Path) -> None:
        copied(empty.footage, folder / "footage")
        (folder / "footage" / f"{SCENES[-1]}.txt").unlink()
        _captioned(empty, model, folder, "workspace").run(CAPTIONS)

    return _captioned(empty, model, written_once("captioned", write), "workspace")


def _captioned(empty: Bench, model: Path, folder: Path, workspace: str) -> Bench:
    options = {"model": str(model / "captioner"), "dtype": "fp32", "max_tokens": 12, "frames": 2}
    wanted = {f"caption__{name}": value for name, value in options.items()}
    bench = empty.but(footage=folder / "footage", workspace=folder / workspace)
    return bench.set(**wanted, datasets__0__captions={"missing": "model"})


@dataclass(frozen=True)
class Elsewhere:
    """What the stages made of the same input in another workspace, and which of them opened media for it."""

    results: Results
    opened_media: frozenset[str]


@pytest.fixture(scope="session")
def elsewhere(empty: Bench, written_once: WriteOnce) -> Elsewhere:
    def write(folder: Path) -> None:
        with MediaOpeners() as openers:
            empty.but(workspace=folder / "workspace").run(EVERY_STAGE[-1])
        (folder / "opened.json").write_text(json.dumps(sorted(openers.stages)))

    folder = written_once("elsewhere", write)
    results = empty.but(workspace=folder / "workspace").run(EVERY_STAGE[-1])
    return Elsewhere(results, frozenset(json.loads((folder / "opened.json").read_text())))


@pytest.fixture(scope="session")
def trained_in_int8(finished: Bench, written_once: WriteOnce) -> Path:
    """A copy of the finished workspace in which a LoRA was trained in 8 bits, too. Do not change it."""

    def write(folder: Path) -> None:
        workspace = copied(finished.workspace, folder / "workspace")
        finished.but(workspace=workspace).set(train_lora__base_precision="int8").run("train_lora")

    return written_once("trained in int8", write) / "workspace"


@pytest.fixture
def int8(finished: Bench, trained_in_int8: Path, tmp_path: Path) -> Bench:
    """A copy of it, to change, and the settings of that training."""
    workspace = copied(trained_in_int8, tmp_path / "workspace")
    return finished.but(workspace=workspace).set(train_lora__base_precision="int8")


def is_of_captions(request: pytest.FixtureRequest) -> bool:
    """True of a test whose parameter `stage` is the one that writes captions."""
    stage = request.node.callspec.params.get("stage") if hasattr(request.node, "callspec") else None
    return getattr(stage, "name", None) == CAPTIONS


@pytest.fixture
def ready(request: pytest.FixtureRequest) -> Bench:
    """A workspace in which the stage of the test's parameter, or every stage, ran. Do not change it."""
    return cast(Bench, request.getfixturevalue("captioned" if is_of_captions(request) else "finished"))


@pytest.fixture
def made(request: pytest.FixtureRequest, ready: Bench) -> Results:
    """What the stages made there."""
    return ready.run(CAPTIONS) if is_of_captions(request) else cast(Results, request.getfixturevalue("results"))


@pytest.fixture
def bench(ready: Bench, tmp_path: Path) -> Bench:
    """A copy of the finished workspace, to change; on the shared footage."""
    return ready.but(workspace=copied(ready.workspace, tmp_path / "workspace"))


@pytest.fixture
def own(finished: Bench, tmp_path: Path) -> Bench:
    """Footage of one's own to change, and a workspace that knows the shared footage's items but ran nothing."""
    workspace = tmp_path / "workspace"
    copied(finished.workspace / "pool", workspace / "pool")
    return finished.but(footage=copied(finished.footage, tmp_path / "footage"), workspace=workspace)


@pytest.fixture
def forked_children(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Processes of stages and of ranks are forks of this one, which has loaded torch already."""
    monkeypatch.setattr(subprocess, "Popen", Forked)
    end_servers()
    yield
    end_servers()


@pytest.fixture
def fork(forked_children: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """The child is a fork of this process, for what does not depend on how it is started. `fork(code)`: run `code` in
    it before anything else."""
    main, codes = child.main, list[str]()

    def forked() -> None:
        workers._idle.clear()  # of this process, and so is the thread that starts them
        workers._starter = ThreadPoolExecutor(1)
        for code in codes:
            exec(code, {})
        main()

    monkeypatch.setattr(child, "main", forked)
    return codes.append
