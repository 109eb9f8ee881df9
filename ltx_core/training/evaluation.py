"""The eval loss: held-out clips, fixed noise levels, fixed noise. Only the weights differ between two of them."""

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

import torch

from ltx_core.files.digest import text_digest
from ltx_core.flow_matching.sigmas import fixed_sigmas
from ltx_core.progress import Progress, stop_if_asked
from ltx_core.training.objective import Objective
from ltx_core.training.samples import SampleInfo


class EvalLoss(NamedTuple):
    """Means over clips and noise levels; `audio` is None where no held-out clip is trained on sound."""

    video: float
    audio: float | None

    @property
    def total(self) -> float:
        return self.video + (self.audio or 0.0)

    def values(self) -> dict[str, float]:
        """As logged."""
        audio = {} if self.audio is None else {"eval/audio": self.audio}
        return {"eval/loss": self.total, "eval/video": self.video, **audio}


def eval_clips(samples: Sequence[SampleInfo], limit: int, seed: int) -> tuple[SampleInfo, ...]:
    """At most `limit` held-out clips, chosen by hash so that neither order nor new training clips change them."""
    held_out = [sample for sample in samples if sample.split == "eval"]
    chosen = sorted(held_out, key=lambda s: text_digest("eval", str(seed), s.clip_id))[:limit]
    return tuple(sorted(chosen, key=lambda s: s.clip_id))


def eval_loss(objective: Objective, clips: Sequence[SampleInfo], progress: Progress) -> EvalLoss | None:
    """The loss of the transformer as it is on `clips`; None without clips. Clips run one by one, so none sways another.

    Raises:
        Stopped: asked to stop; nothing was changed.
    """
    video: list[float] = []
    audio: list[float] = []
    with torch.no_grad():
        for clip in clips:
            stop_if_asked(progress, "measuring the eval loss")
            for sigma in fixed_sigmas(objective.settings.eval_sigmas):
                losses = objective.losses(objective.eval_batch(clip, sigma))
                video.append(losses.video.item())
                if losses.audio is not None and clip.has_audio_loss:
                    audio.append(losses.audio.item())
    return EvalLoss(fmean(video), fmean(audio) if audio else None) if video else None
