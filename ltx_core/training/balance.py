"""The weight of the audio's loss, if it follows from both streams' losses so far.

Where one stream's loss is several times the other's, it decides what layers that serve both learn, and how far the
clipped gradient leaves the others. The idea is that of other trainers (the musubi fork's `ema_mag`): averages over the
steps, and a weight that brings the audio's to a fraction of the video's.
"""

from collections.abc import Iterable, Mapping
from statistics import fmean

from ltx_core.training.config import TrainSettings
from ltx_core.training.metrics import AVERAGES, SampleLoss

DECAY = 0.99
"""Of the averages, in each step that has a loss of the stream."""
LEAST, MOST = 0.05, 4.0
"""Bounds of the weight."""


def audio_weight(settings: TrainSettings, averages: Mapping[str, float | None]) -> float:
    """Weight of the audio's loss in the next step: `audio_loss_weight`, or with `audio_loss_ratio` what brings the
    audio's average to that fraction of the video's. It is 1 until both have been measured."""
    if settings.audio_loss_ratio is None:
        return settings.audio_loss_weight
    video, audio = (averages.get(name) for name in AVERAGES.values())
    if video is None or audio is None:
        return 1.0
    return min(max(settings.audio_loss_ratio * video / max(audio, 1e-12), LEAST), MOST)


def averaged(averages: Mapping[str, float | None], losses: Iterable[SampleLoss]) -> dict[str, float | None]:
    """The averages after a step with these losses."""
    found, known = dict(averages), list(losses)
    for modality, name in AVERAGES.items():
        own = [loss.loss for loss in known if loss.modality == modality]
        before = found.get(name)
        if own:
            found[name] = fmean(own) if before is None else DECAY * before + (1 - DECAY) * fmean(own)
    return found
