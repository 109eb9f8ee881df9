"""What CREPA claims: hidden states nearer to what an encoder sees, and steadier from frame to frame; beside a control.

A tiny transformer of the real class learns clips whose features are a fixed nonlinear map of the clean latents. The
control has the same seeds, clips, noise and steps, and no alignment. Both are measured by linear CKA (Kornblith et al.
2019, arXiv 1905.00414), which needs no projector: CREPA's own score would be high for the projector's sake alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ltx_core.denoiser.forward import HiddenStateHook
from ltx_core.progress import Silent
from ltx_core.shapes import LatentShape
from ltx_core.training.config import TrainSettings
from ltx_core.training.loop import Run, train
from ltx_core.training.methods.method import Forward
from ltx_core.training.metrics import History
from ltx_core.training.run import TrainJob, prepare
from ltx_core.training.samples import ClipInfo
from tests.numerics.training.conftest import CHANNELS, REGISTERS, TEXT, build_connectors, build_transformer

pytestmark = [pytest.mark.numerics, pytest.mark.extra]
SHAPE, BUCKET, RATE = LatentShape(4, 3, 3), "96x96@25", 24.0
WIDTH, BLOCK, STEPS = 16, 0, 40
NAMES = tuple("abcdef")


@dataclass
class Drifting:
    """Clips in which a pattern drifts, and features of their frames."""

    samples: Sequence[ClipInfo]

    def load(self, clip_id: str) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(ord(clip_id))
        start, drift = (torch.randn(CHANNELS, 1, 3, 3, generator=generator) for _ in range(2))
        times = torch.arange(SHAPE.frames).view(1, -1, 1, 1)
        video = start + 0.3 * drift * times
        return {"video": video, "features": features_of(video)}

    def text(self, caption: str) -> dict[str, Tensor]:
        return {"video_features": torch.ones(2, TEXT), "audio_features": torch.ones(2, TEXT // 2)}


def features_of(video: Tensor) -> Tensor:
    """[C, F, H, W] to [F, H, W, D]: each place beside the mean of its frame, through a layer that is not linear."""
    generator = torch.Generator().manual_seed(7)
    own, around = (torch.randn(CHANNELS, WIDTH, generator=generator) for _ in range(2))
    places = video.movedim(0, -1)
    return torch.tanh(places @ own + places.mean(dim=(1, 2), keepdim=True) @ around).half()


def trained(folder: Path, seed: int, crepa: dict[str, Any] | None) -> Run:
    """A run that took all its steps."""
    samples = [ClipInfo(name, BUCKET, "train", 1, RATE, False, name) for name in NAMES]
    settings = TrainSettings(
        seed=seed,
        steps=STEPS,
        batch_size=3,
        learning_rate=1e-2,
        rank=8,
        modalities="video",
        dtype="fp32",
        activation_checkpointing=0.0,
        checkpoint_interval=STEPS,
        crepa=crepa,
    )
    job = TrainJob(
        settings=settings,
        source=Drifting(samples),
        load_transformer=build_transformer,
        load_connectors=build_connectors,
        out_dir=folder,
        device="cpu",
        provenance={},
        context_length=REGISTERS,
    )
    run = prepare(job, folder, "digest", History(), Silent())
    train(run, 0)
    return run


@torch.no_grad()
def states_and_features(run: Run, sigma: float) -> tuple[Tensor, Tensor]:
    """Hidden states and features of every clip at one noise level with fixed noise: [clips, F, H * W, D] each."""
    states, features = [], []
    for sample in run.plan.samples:
        batch = run.objective.eval_batch(sample, sigma)
        hook = HiddenStateHook(BLOCK)
        forward = Forward(run.objective.transformer, batch.video, None, {}, hooks=[hook])
        run.objective._run(forward, run.objective.contexts(batch.captions, "cpu"))
        assert hook.video is not None
        states.append(hook.video.view(SHAPE.frames, -1, TEXT))
        features.append(run.objective.source.load(sample.clip_id)["features"].float().flatten(1, 2))
    return torch.stack(states), torch.stack(features)


def cka(left: Tensor, right: Tensor) -> float:
    """Linear centred kernel alignment of two sets of row vectors, 0 to 1."""
    left, right = left - left.mean(0), right - right.mean(0)
    return ((left.T @ right).norm() ** 2 / ((left.T @ left).norm() * (right.T @ right).norm())).item()


def measure(run: Run, sigma: float) -> tuple[float, float]:
    """CKA of states with features; mean cosine of a place's state with itself a frame later, their mean taken off."""
    states, features = states_and_features(run, sigma)
    centred = states - states.mean(dim=(0, 1, 2))
    steady = torch.cosine_similarity(centred[:, 1:], centred[:, :-1], dim=-1).mean().item()
    return cka(states.flatten(0, 2), features.flatten(0, 2)), steady


def mean_loss(run: Run) -> float:
    """Of the last ten steps, of the velocities alone."""
    found = run.history.at(STEPS, "loss")
    assert found is not None
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_states_come_nearer_to_the_features_than_without(seed: int, tmp_path: Path) -> None:
    """Where noise leaves something to see, by a quarter or more; at sigma 0.9 neither run's states tell much."""
    with_it = trained(tmp_path / "on", seed, {"block_index": BLOCK})
    control = trained(tmp_path / "off", seed, None)
    for sigma in (0.3, 0.6):
        (nearer, steadier), (near, steady) = (measure(run, sigma) for run in (with_it, control))
        assert nearer > 1.15 * near
        assert steadier > steady
    assert mean_loss(with_it) < 1.02 * mean_loss(control), "what is learnt otherwise is not given up for it"
