"""The eval loss: held-out clips, fixed noise levels, fixed noise. Only the weights differ between two of them."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from statistics import fmean
from typing import NamedTuple

import torch

from ltx_core.distributed.ranks import ALONE, Ranks
from ltx_core.engine.runner import as_in_training
from ltx_core.flow_matching import carries_loss, fixed_sigmas
from ltx_core.io.digest import text_digest
from ltx_core.progress import Progress
from ltx_core.training.condition_settings import WHOLE_STREAMS
from ltx_core.training.config import TrainSettings
from ltx_core.training.draws import eval_draw
from ltx_core.training.objective import Objective
from ltx_core.training.samples import ClipInfo

BESIDE = ("audio", "reference", "audio_reference")
"""Kinds of conditions that are named after those of the video's own frames, or after nothing."""
NAMES = {"audio": "sound"}
"""Names that figures had before conditions had theirs."""
COLUMNS = 4
"""The video's loss, whether that counts, the audio's, and whether that counts."""


class EvalLoss(NamedTuple):
    """Means over clips and noise levels."""

    total: float
    """The loss that is trained: the video's, and the audio's times its weight."""
    video: float | None
    """None where the whole video is always clean."""
    audio: float | None
    """None where no audio carries a loss: none is there, it is silent, or it is clean."""
    modes: dict[str, float]
    """Of each stream, by the conditioning: `video/first_frame`, `audio/nothing`; empty if nothing ever is."""

    def values(self) -> dict[str, float]:
        """As logged."""
        streams = {"eval/loss_video": self.video, "eval/loss_audio": self.audio}
        measured = {name: value for name, value in streams.items() if value is not None}
        return {"eval/loss": self.total, **measured, **{f"eval/loss_{name}": x for name, x in self.modes.items()}}


def eval_clips(clips: Sequence[ClipInfo], limit: int, seed: int) -> tuple[ClipInfo, ...]:
    """At most `limit` held-out clips, chosen by hash so that neither order nor new training clips change them."""
    held_out = [clip for clip in clips if clip.split == "eval"]
    chosen = sorted(held_out, key=lambda s: text_digest("eval", str(seed), s.clip_id))[:limit]
    return tuple(sorted(chosen, key=lambda s: s.clip_id))


@torch.no_grad()
def eval_loss(
    objective: Objective,
    clips: Sequence[ClipInfo],
    progress: Progress,
    ranks: Ranks = ALONE,
    *,
    adapter_is_on: bool = True,
) -> EvalLoss | None:
    """The loss of the transformer as it is on `clips`; None without clips. Clips run one by one, so none sways another.

    It is the loss that training takes down, without any training method: each clip at each noise level has the
    conditioning of `eval_draw`, and what carries no loss in training carries none here.

    Several ranks share the forwards and end with the same figures, to the last bit those of one. Each takes as many,
    because weights that are cut among ranks come together only when all run: where the clips run out, a rank repeats
    one and drops the result.

    Blocks that training has compiled for such clips are used as it uses them, if the `adapter_is_on`; others run
    uncompiled, since they are few and would be compiled for this alone.

    Raises:
        Stopped: asked to stop; nothing was changed.
        TransientError: another rank is gone.
    """
    compiled = adapter_is_on and objective.runs_as_in_training(clips)
    objective = replace(objective, methods=())
    forwards = [(clip, sigma) for clip in clips for sigma in fixed_sigmas(objective.settings.eval_sigmas)]
    found = torch.zeros(len(forwards), COLUMNS, dtype=torch.float64)
    with as_in_training(objective.transformer) if compiled else nullcontext():
        for first in range(0, len(forwards), ranks.size):
            ranks.stop_if_asked(progress, "measuring the eval loss")
            number = first + ranks.rank
            row = _losses(objective, *forwards[min(number, len(forwards) - 1)])
            if number < len(forwards):
                found[number] = row
    if not forwards:
        return None
    return _summed_up(ranks.sum(found), [_mode(*forward, objective) for forward in forwards], objective.settings)


def _losses(objective: Objective, clip: ClipInfo, sigma: float) -> torch.Tensor:
    """[COLUMNS] of one clip at one noise level."""
    batch = objective.eval_batch(clip, sigma)
    losses = objective.losses(batch)
    row: list[float] = []
    for stream, loss in ((batch.video, losses.video), (batch.audio, losses.audio)):
        if stream is None or loss is None:
            row += [0.0, 0.0]
        else:
            row += [loss.item(), float(carries_loss(stream.weight).item())]
    return torch.tensor(row, dtype=torch.float64)


def _mode(clip: ClipInfo, sigma: float, objective: Objective) -> str:
    """Name of the conditioning of a clip at a noise level."""
    if objective.settings.modalities == "audio" or not clip.has_video:
        return "alone"
    draw = eval_draw(clip, sigma, objective.settings)
    kinds = [condition.kind for condition in draw.conditions]
    if objective.audio_channels is None:
        kinds = [kind for kind in kinds if not kind.startswith("audio")]
    beside = [NAMES.get(kind, kind) for kind in kinds if kind in BESIDE]
    within = [kind for kind in kinds if kind not in BESIDE] or ["nothing"]
    return "_and_".join([*within, *beside])


def _summed_up(found: torch.Tensor, modes: Sequence[str], settings: TrainSettings) -> EvalLoss:
    """`found`: [N, COLUMNS]."""
    parts: dict[str, list[float]] = {"video": [], "audio": []}
    for (video, seen, audio, heard), mode in zip(found.tolist(), modes, strict=True):
        for name, value in [("video", video)] * bool(seen) + [("audio", audio)] * bool(heard):
            parts[name].append(value)
            parts.setdefault(f"{name}/{mode}", []).append(value)
    means = {name: fmean(values) for name, values in sorted(parts.items()) if values}
    video_mean, audio_mean = means.pop("video", None), means.pop("audio", None)
    total = (video_mean or 0.0) + settings.audio_loss_weight * (audio_mean or 0.0)
    by_mode = settings.conditions_by_token or any(getattr(settings, name) for name in WHOLE_STREAMS)
    return EvalLoss(total, video_mean, audio_mean, means if by_mode or len(set(modes)) > 1 else {})
