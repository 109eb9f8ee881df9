"""The eval loss: held-out clips, fixed noise levels, fixed noise. Only the weights differ between two of them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from ltx_core.distributed.ranks import ALONE, Ranks
from ltx_core.files.digest import text_digest
from ltx_core.flow_matching.sigmas import fixed_sigmas
from ltx_core.progress import Progress
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


@torch.no_grad()
def eval_loss(
    objective: Objective, clips: Sequence[SampleInfo], progress: Progress, ranks: Ranks = ALONE
) -> EvalLoss | None:
    """The loss of the transformer as it is on `clips`; None without clips. Clips run one by one, so none sways another.

    Several ranks share the forwards and end with the same figures, to the last bit those of one. Each takes as many,
    because weights that are cut among ranks come together only when all run: where the clips run out, a rank repeats
    one and drops the result.

    Raises:
        Stopped: asked to stop; nothing was changed.
        TransientError: another rank is gone.
    """
    forwards = [(clip, sigma) for clip in clips for sigma in fixed_sigmas(objective.settings.eval_sigmas)]
    found = torch.zeros(len(forwards), 2, dtype=torch.float64)
    for first in range(0, len(forwards), ranks.size):
        ranks.stop_if_asked(progress, "measuring the eval loss")
        number = first + ranks.rank
        clip, sigma = forwards[min(number, len(forwards) - 1)]
        losses = objective.losses(objective.eval_batch(clip, sigma))
        if number < len(forwards):
            found[number, 0] = losses.video.item()
            found[number, 1] = losses.audio.item() if losses.audio is not None else 0.0
    if not forwards:
        return None
    video, audio = ranks.sum(found).unbind(1)
    heard = [clip.has_audio_loss and objective.audio_channels is not None for clip, _ in forwards]
    return EvalLoss(video.mean().item(), audio[torch.tensor(heard)].mean().item() if any(heard) else None)
