"""Deterministic kernels: on while training, as before afterwards, and asked for before PyTorch's compiler is loaded."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ltx_core.engine.compiling import ENVIRONMENT
from ltx_core.errors import DataError
from ltx_core.progress import Silent
from ltx_core.training.config import TrainSettings
from ltx_core.training.run import TrainJob, train_lora
from tasks import stage_named
from tasks.runtime.shared import Shared
from tasks.runtime.stage import Decision, StageRun
from tasks.runtime.workspace import Workspace

pytestmark = pytest.mark.numerics
JobOf = Callable[..., TrainJob]


class Kernels(Silent):
    """Notes at each step which kernels PyTorch may use."""

    def __init__(self) -> None:
        self.seen: set[tuple[bool, bool, bool, bool]] = set()

    def advance(self, done: int, total: int, unit: str) -> None:
        self.seen.add(allowed())


def allowed() -> tuple[bool, bool, bool, bool]:
    """Whether only ordered kernels, and which attentions: flash, memory-efficient, cuDNN's."""
    flash, efficient = torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.mem_efficient_sdp_enabled()
    return torch.are_deterministic_algorithms_enabled(), flash, efficient, torch.backends.cuda.cudnn_sdp_enabled()


@pytest.mark.parametrize(("deterministic", "while_training"), [(True, (True, True, False, False)), (False, None)])
def test_only_ordered_kernels_while_training(
    deterministic: bool, while_training: tuple[bool, ...] | None, job_of: JobOf, tmp_path: Path
) -> None:
    before, kernels = allowed(), Kernels()
    train_lora(job_of(tmp_path, deterministic=deterministic), kernels)
    assert kernels.seen == {while_training or before}
    assert allowed() == before


def test_they_are_taken_back_when_training_fails(job_of: JobOf, tmp_path: Path) -> None:
    before = allowed()
    with pytest.raises(DataError):
        train_lora(job_of(tmp_path, deterministic=True), Fails())
    assert allowed() == before


class Fails(Silent):
    def advance(self, done: int, total: int, unit: str) -> None:
        raise DataError("a clip is broken")


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_stage_sets_what_libraries_read_when_loaded(
    deterministic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, "to be taken away")
        monkeypatch.delenv(name)
    config = TrainSettings(deterministic=deterministic)
    run = StageRun(
        stage=stage_named("train_lora"),
        config=config,
        shared=Shared.model_construct(),
        inputs={"encode_latents": []},  # type: ignore[dict-item]  # read as rows alone
        workspace=Workspace(tmp_path),
        decision=Decision("key", {}, reusable=False, why="never run"),
    )
    with pytest.raises(DataError, match="none of the 0 clips"):
        run.stage.run(run)
    assert {name: os.environ.get(name) for name in ENVIRONMENT} == (
        ENVIRONMENT if deterministic else dict.fromkeys(ENVIRONMENT)
    )


def test_off_it_names_nothing() -> None:
    assert (
        TrainSettings(deterministic=False).digest()
        == TrainSettings().digest()
        != TrainSettings(deterministic=True).digest()
    )
