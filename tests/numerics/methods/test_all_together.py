"""Every method and every kind of sample at once: each has a part in it. Resuming, ranks, graphs: test_contract.py."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.progress import Silent
from ltx_core.training.metrics import History
from ltx_core.training.run import prepare, train_lora
from ltx_core.training.step import backward_step, step_batches
from tests.numerics.methods.conftest import WithMasks, everything_job
from tests.numerics.methods.test_contract import ALL, CONDITIONING
from tests.numerics.training.test_precisions import POLICIES
from tests.numerics.training.test_resume import KilledAt, in_child

pytestmark = [pytest.mark.numerics, pytest.mark.extra]
EVERYTHING: dict[str, Any] = ALL | CONDITIONING | {"base_precision": "int8", "optimizer": "adamw8bit"}
LOKR: dict[str, Any] = {
    "rank": 32,  # as left out; that of LyCORIS is its own
    "dropout": None,  # for the plain LoRA alone
    "lycoris": {"algo": "lokr", "linear_dim": 4, "linear_alpha": 4, "factor": 4, "dora_wd": True},
}


def test_with_a_lokr_killed_and_run_again_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """With block offload and activation checkpointing, against a base on the device and nothing that interrupts."""
    whole = train_lora(everything_job(tmp_path / "whole", **EVERYTHING | LOKR), Silent())
    job = everything_job(tmp_path / "killed", **EVERYTHING | LOKR, **POLICIES)
    assert in_child(lambda: train_lora(job, KilledAt(4))) == -signal.SIGKILL
    again = train_lora(job, Silent())
    assert again.resumed_from_step == 3
    assert again.lora_path.read_bytes() == whole.lora_path.read_bytes()
    assert again.metrics == whole.metrics
    told = {row.name for row in whole.metrics}
    assert {"crepa/alignment", "rollout/video/drift", "rollout/video/anti_drift", "eval/loss"} <= told


def test_each_has_a_part_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any one of them the gradients of a step are others."""

    def gradients(**changes: Any) -> dict[str, torch.Tensor]:
        run = prepare(everything_job(tmp_path, **EVERYTHING | changes), tmp_path, "", History(), Silent())
        backward_step(run.objective, step_batches(run.plan, 0, 3), strengths={"rollout": 0.7})
        return {name: p.grad for name, p in run.parameters.items() if p.grad is not None}

    whole = gradients()
    with monkeypatch.context() as patch:
        patch.setattr(WithMasks, "masked", ())
        unmasked = gradients()
        assert any(not gradient.equal(whole[key]) for key, gradient in unmasked.items()), "masks"
    for name in (ALL | CONDITIONING).keys() - {"ema_decay", "prefix_latent_frames"}:  # an average has no gradient
        changes = {name: None} | ({"prefix_latent_frames": None} if name == "prefix_probability" else {})
        without = gradients(**changes)
        assert any(not gradient.equal(whole[key]) for key, gradient in without.items()), name
