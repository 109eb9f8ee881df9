"""From losses by sample to the one number that a backward starts from."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ltx_core.training.objective import BatchLosses

VIDEO, AUDIO, CREPA = "video_share", "audio_share", "crepa_share"


def loss_shares(
    num_video: int, num_audio: int, audio_weight: float = 1.0, crepa_weight: float = 0.0
) -> dict[str, float]:
    """What the losses of a batch are multiplied by, so that a step's batches add up to means over all of its clips.

    `num_video` and `num_audio` count the clips of the whole step that carry a loss. A step of which half lacks sound
    gives the audio half's loss, not half of it, however it is cut into batches; one without any sound has no share of
    it, and adapters that only its loss would reach get no gradient, where a gradient of zero would let them decay.
    """
    shares = {VIDEO: 1 / num_video}
    if num_audio:
        shares[AUDIO] = audio_weight / num_audio
    return shares | ({CREPA: crepa_weight / num_video} if crepa_weight else {})


def total_loss(losses: BatchLosses, shares: Mapping[str, Any]) -> Tensor:
    """A batch's part of the step's loss. `shares` are as `loss_shares` gives them: numbers, or tensors that a graph
    reads."""
    total = losses.video.sum() * shares[VIDEO]
    if losses.audio is not None and AUDIO in shares:
        total = total + losses.audio.sum() * shares[AUDIO]
    if losses.crepa is not None and CREPA in shares:
        total = total - losses.crepa.score.sum() * shares[CREPA]
    return total
