"""The step's loss from losses by sample: means over the clips that carry one."""

import torch

from ltx_core.training.methods.method import BatchLosses
from ltx_core.training.objective import loss_weights, total_loss

VIDEO = torch.tensor([1.0, 2.0, 3.0, 6.0])
AUDIO = torch.tensor([0.0, 4.0, 0.0, 2.0])


def test_half_a_batch_without_sound_gives_the_other_halfs_loss() -> None:
    assert total_loss(BatchLosses(VIDEO, AUDIO), loss_weights(4, 2)).item() == 3.0 + 3.0
    assert total_loss(BatchLosses(VIDEO, AUDIO), loss_weights(4, 2, audio_weight=0.5)).item() == 3.0 + 1.5
    assert total_loss(BatchLosses(VIDEO, None), loss_weights(4, 2)).item() == 3.0


def test_no_sound_at_all_gives_no_gradient_and_not_a_zero_one() -> None:
    audio = torch.zeros(4, requires_grad=True)
    video = VIDEO.clone().requires_grad_()
    total_loss(BatchLosses(video, audio), loss_weights(4, 0)).backward()
    assert audio.grad is None
    assert video.grad is not None


def test_a_step_in_two_batches_adds_up() -> None:
    score = torch.tensor([0.5, 0.25, 1.0, 0.25])
    weights = loss_weights(4, 2, 1.0, {"crepa": 2.0})
    parts = [
        total_loss(BatchLosses(VIDEO[cut], AUDIO[cut], {"crepa": -score[cut]}), weights)
        for cut in (slice(0, 1), slice(1, 4))
    ]
    assert sum(parts).item() == 3.0 + 3.0 - 2.0 * 0.5  # type: ignore[union-attr]  # a sum of tensors
