"""Every method and every way of running a base, at once: it runs, each has a part in it, and resuming is exact."""

import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.progress import Silent
from ltx_core.training import backward
from ltx_core.training.backward import EagerBackward, GraphedBackward
from ltx_core.training.config import TrainSettings
from ltx_core.training.metrics import History
from ltx_core.training.run import TrainJob, prepare, train_lora
from ltx_core.training.step import backward_step, step_visits
from tests.numerics.training.conftest import (
    DEFAULT_CLIPS,
    FAST,
    REGISTERS,
    MemorySource,
    build_connectors,
    build_transformer,
)
from tests.numerics.training.test_crepa import WithFeatures
from tests.numerics.training.test_precisions import POLICIES, with_engine
from tests.numerics.training.test_ranks import check_alike, train_two
from tests.numerics.training.test_resume import KilledAt, in_child

pytestmark = pytest.mark.numerics
METHODS: dict[str, Any] = {
    "tread_routes": [{"selection_ratio": 0.5, "start_layer_idx": 1, "end_layer_idx": -1}],
    "crepa": {"block_index": 0},
    "rollout": {"probability": 0.7, "ramp_steps": 2, "max_sigma_offset": 0.4, "reflexflow": True},
    "ema_decay": 0.9,
    "caption_dropout": 0.3,
    "first_frame_probability": 0.3,
    "prefix_probability": 0.3,
    "prefix_latent_frames": 1,
    "audio_given_probability": 0.3,
    "audio_loss_weight": 0.5,
}
MASKED = ("b", "large")
BASE: dict[str, Any] = {"base_precision": "int8", "low_precision_backward": True}
SHORT: dict[str, Any] = {"steps": 5, "max_eval_clips": 1, "eval_sigmas": 1}
LORA: dict[str, Any] = {"optimizer": "adamw8bit", "dropout": 0.2}
LOKR: dict[str, Any] = {
    "optimizer": "adamw8bit",
    "rank": 32,  # as left out; that of LyCORIS is its own
    "lycoris": {"algo": "lokr", "linear_dim": 4, "linear_alpha": 4, "factor": 4, "dora_wd": True},
}


class Masked(WithFeatures):
    """Some clips have a mask, too: half of the picture counts a quarter."""

    def load(self, clip_id: str) -> dict[str, torch.Tensor]:
        loaded = super().load(clip_id)
        if clip_id not in MASKED:
            return loaded
        mask = torch.ones(loaded["video"].shape[1:])
        mask[..., : mask.shape[2] // 2] = 0.25
        return {**loaded, "mask": mask}


def job_of(folder: Path, **changes: Any) -> TrainJob:
    """A short job with everything, on a base that the engine assembles; a change to None leaves a setting out."""
    settings = {name: value for name, value in (FAST | SHORT | METHODS | BASE | changes).items() if value is not None}
    return with_engine(
        TrainJob(
            settings=TrainSettings(**settings),
            source=Masked(MemorySource(list(DEFAULT_CLIPS))),  # type: ignore[arg-type]  # a source in all it does
            load_transformer=build_transformer,
            load_connectors=build_connectors,
            out_dir=folder,
            device="cpu",
            provenance={"base": "tiny 2.5"},
            context_length=REGISTERS,
        )
    )


@pytest.mark.parametrize("adapter", [LORA, LOKR], ids=["LoRA", "LoKr"])
def test_killed_and_run_again_it_ends_with_the_same_bytes(adapter: dict[str, Any], tmp_path: Path) -> None:
    """Streamed, recomputed and killed, against a base that lies on the device and nothing that disturbs."""
    whole = train_lora(job_of(tmp_path / "whole", **adapter), Silent())
    job = job_of(tmp_path / "killed", **adapter, **POLICIES)
    assert in_child(lambda: train_lora(job, KilledAt(4))) == -signal.SIGKILL
    again = train_lora(job, Silent())
    assert again.resumed_from_step == 3
    assert again.lora_path.read_bytes() == whole.lora_path.read_bytes()
    assert again.metrics == whole.metrics
    told = {row.name for row in whole.metrics}
    assert {"crepa/alignment", "rollout/video/drift", "rollout/video/anti_drift", "eval/loss"} <= told


def test_each_method_has_a_part_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any one of them the gradients of a step are others."""

    def gradients(**changes: Any) -> dict[str, torch.Tensor]:
        run = prepare(job_of(tmp_path, **LORA | changes), tmp_path, "", History(), Silent())
        settings = run.objective.settings
        weight, share = 0.5 * (settings.crepa is not None), 0.7 * (settings.rollout is not None)
        backward_step(run.objective, step_visits(run.plan, 0, 3), crepa_weight=weight, rollout_share=share)
        return {name: p.grad for name, p in run.parameters.items() if p.grad is not None}

    whole = gradients()
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[__name__], "MASKED", ())
        unmasked = gradients()
        assert any(not gradient.equal(whole[key]) for key, gradient in unmasked.items()), "masks"
    for name in METHODS.keys() - {"ema_decay", "prefix_latent_frames"}:  # an average has no gradient
        changes = {name: None} | ({"prefix_latent_frames": None} if name == "prefix_probability" else {})
        without = gradients(**changes)
        assert any(not gradient.equal(whole[key]) for key, gradient in without.items()), name


def test_a_graph_of_a_step_does_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backward, "StepGraphs", lambda work, *_: work)  # the real one wants a GPU
    run = prepare(job_of(tmp_path, **LORA, **POLICIES), tmp_path, "", History(), Silent())
    batches = [batch for step in range(2) for batch in step_visits(run.plan, step, 2)]
    found = []
    for make in (EagerBackward(run.objective), GraphedBackward(run.objective, list(run.parameters.values()))):
        losses = backward_step(run.objective, batches, backward=make, crepa_weight=0.5, rollout_share=0.7)
        found.append((losses, {name: p.grad for name, p in run.parameters.items()}))
        for parameter in run.parameters.values():
            parameter.grad = None
    (eager, left), (graphed, right) = found
    assert graphed == eager
    torch.testing.assert_close(left, right)


def test_two_ranks_train_as_one_does(tmp_path: Path) -> None:
    changes = LORA | {"steps": 3, "optimizer": "adamw"}
    alone = train_lora(job_of(tmp_path / "one", **changes), Silent())
    job = job_of(tmp_path / "two", **changes)
    assert train_two(job) == {}
    check_alike(train_lora(job, Silent()), alone)
