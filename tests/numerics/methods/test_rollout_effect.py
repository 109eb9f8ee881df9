"""Rollouts against a control with the same seeds: errors on states that the model reached itself, on held-out clips.

A model goes from pure noise to a noise level by its own Euler steps, as a sampler does; the error is that of the data
that it then sees, (x - sigma v) against the clip. Held-out clips and their noise are those of the eval loss, and no
rollout of the training goes as far as these do. A tiny model that is far from perfect: that the errors fall says that
rollouts do what they are for, nothing of how much they do for a model of 19B.
"""

from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

from ltx_core.progress import Silent
from ltx_core.training.config import TrainSettings
from ltx_core.training.evaluation import eval_loss
from ltx_core.training.loop import Run, train
from ltx_core.training.methods.rollout import RolloutTrajectory
from ltx_core.training.methods.settings import RolloutSettings
from ltx_core.training.metrics import History
from ltx_core.training.run import TrainJob, prepare
from tests.numerics.training.conftest import REGISTERS, MemorySource, build_connectors, build_transformer, make_clip

pytestmark = [pytest.mark.numerics, pytest.mark.extra]
EVERY_LAYER = ("proj_in", "proj_out", "to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2")
"""So that the LoRA of a random base can learn at all."""
SETTINGS: dict[str, Any] = {
    "steps": 50,
    "learning_rate": 1.5e-2,
    "rank": 8,
    "batch_size": 4,
    "dtype": "fp32",
    "activation_checkpointing": 0.0,
    "modalities": "video",
    "targets": EVERY_LAYER,
    "eval_interval": 1000,
    "checkpoint_interval": 1000,
    "eval_sigmas": 2,
}
ROLLOUT: dict[str, Any] = {"probability": 0.5, "max_sigma_offset": 0.5, "num_model_calls": 2}
SEEDS = (2, 3)
NUM_STEPS = 5
SIGMAS = (0.5, 0.1)
CLIPS = [make_clip(name) for name in "abcdefgh"] + [make_clip(f"held{i}", split="eval") for i in range(4)]


def trained(folder: Path, seed: int, rollout: dict[str, Any] | None) -> Run:
    """A run at its end."""
    settings = TrainSettings(seed=seed, rollout=None if rollout is None else RolloutSettings(**rollout), **SETTINGS)
    job = TrainJob(
        settings=settings,
        source=MemorySource(CLIPS),
        load_transformer=build_transformer,
        load_connectors=build_connectors,
        out_dir=folder,
        device="cpu",
        provenance={},
        context_length=REGISTERS,
    )
    run = prepare(job, folder / "checkpoints", "digest", History(), Silent())
    train(run, 0)
    return run


@torch.no_grad()
def own_error(run: Run) -> float:
    """Mean squared error of the data seen from states that the model reached from pure noise."""
    errors = []
    for clip in run.held_out:
        for sigma in SIGMAS:
            batch = run.objective.eval_batch(clip, sigma)
            path = RolloutTrajectory(batch.video, torch.ones(1))
            tokens = path.start()
            for step in range(NUM_STEPS):
                done, then = step / NUM_STEPS, (step + 1) / NUM_STEPS
                velocity, _ = run.objective.predict(replace(batch, video=path.at(tokens, done)))
                tokens = path.step(tokens, velocity, done, then)
            velocity, _ = run.objective.predict(replace(batch, video=path.at(tokens, 1.0)))
            clean = batch.video.noisy - sigma * batch.video.target
            errors.append((tokens - sigma * velocity - clean).square().mean().item())
    return fmean(errors)


def eval_of(run: Run) -> float:
    found = eval_loss(run.objective, run.held_out, Silent())
    assert found is not None
    return found.total


def test_errors_on_its_own_states_fall(tmp_path: Path) -> None:
    """With each of the seeds, and not at the cost of states on the straight path; equal steps, so more forwards."""
    for seed in SEEDS:
        control = trained(tmp_path / f"control-{seed}", seed, None)
        rolled = trained(tmp_path / f"rolled-{seed}", seed, ROLLOUT)
        assert own_error(rolled) < 0.8 * own_error(control)
        assert eval_of(rolled) < 1.02 * eval_of(control)
    reflexed = trained(tmp_path / "reflexed", seed, ROLLOUT | {"reflexflow": True})
    assert own_error(reflexed) < 0.8 * own_error(control)
