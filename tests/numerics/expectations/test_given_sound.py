"""Occurrences whose sound is given: what the audio loss is a mean of, and what the gates between the streams follow."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ltx_core.adapters.lora import lora_parameters
from ltx_core.training.draws import train_draw
from ltx_core.training.objective import Objective
from ltx_core.training.order import SampleOccurrence
from ltx_core.training.step import backward_step

pytestmark = pytest.mark.numerics

Objectives = Callable[..., Objective]
HALF: dict[str, Any] = {"audio_conditioning_probability": 0.5}


def occurrences_of(objective: Objective, given: dict[str, bool]) -> list[SampleOccurrence]:
    """The first occurrence of each clip whose sound is given, or not, as asked."""
    by_name = {sample.clip_id: sample for sample in objective.source.samples}
    found = []
    for name, wanted in given.items():
        occurrences = (SampleOccurrence(by_name[name], number) for number in range(50))
        found.append(next(v for v in occurrences if train_draw(v, objective.settings, 4, 9).has("audio") == wanted))
    return found


def learnt_from(objectives: Objectives, given: dict[str, bool]) -> tuple[list[float], list[torch.Tensor]]:
    """Audio losses, and gradients of the layer that learns from them alone."""
    objective = objectives("a", "b", adapted=("audio_proj_out",), **HALF)
    seen, *_ = backward_step(objective, [occurrences_of(objective, given)])
    gradients = [p.grad for p in lora_parameters(objective.transformer).values() if p.grad is not None]
    return [loss.loss for loss in seen if loss.modality == "audio"], gradients


def test_given_sound_has_no_part_in_the_audio_loss(objective_of: Objectives) -> None:
    both, gradients = learnt_from(objective_of, {"a": True, "b": False})
    alone, wanted = learnt_from(objective_of, {"b": False})
    assert len(both) == 1
    assert both == pytest.approx(alone, rel=1e-5)
    for one, other in zip(gradients, wanted, strict=True):
        assert other.norm() > 0
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-8)


def test_step_of_given_sound_alone_trains_the_picture(objective_of: Objectives) -> None:
    objective = objective_of("a", adapted=("attn1.to_q", "audio_attn1.to_q"), **HALF)
    seen, *_ = backward_step(objective, [occurrences_of(objective, {"a": True})])
    assert [loss.modality for loss in seen] == ["video"]
    norms = {
        name: p.grad.norm().item() for name, p in lora_parameters(objective.transformer).items() if p.grad is not None
    }
    assert any(norm > 0 for name, norm in norms.items() if ".attn1" in name)
    assert any(norm > 0 for name, norm in norms.items() if ".audio_attn1" in name)  # through the attention to sound


def test_gates_follow_the_other_streams_sigma(objective_of: Objectives, transformer: Any) -> None:
    """Not its clean tokens: a prefix at timestep 0 leaves the sound's gate where the picture's noise level is."""
    objective = objective_of("a", prefix_probability=1.0, prefix_latent_frames=1, **HALF)
    (occurrence,) = occurrences_of(objective, {"a": True})
    seen: dict[str, torch.Tensor] = {}
    handles = [
        transformer.get_submodule(f"av_cross_attn_{gate}_gate").emb.register_forward_pre_hook(
            lambda _, arguments, gate=gate: seen.update({gate: arguments[0]})
        )
        for gate in ("video_a2v", "audio_v2a")
    ]
    batch = objective.train_batch([occurrence])
    try:
        with torch.no_grad():
            objective.predict(batch)
    finally:
        for handle in handles:
            handle.remove()
    factor = transformer.config.cross_attn_timestep_scale_multiplier
    assert batch.video.timesteps[0, :2].tolist() == [0, 0]
    assert seen["video_a2v"].flatten().tolist() == [0]
    assert seen["audio_v2a"].flatten().tolist() == pytest.approx([batch.video.sigma.item() * factor], rel=1e-6)
