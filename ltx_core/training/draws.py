"""What is drawn for one sample before it is noised: noise levels, noise, caption, conditioning."""

from dataclasses import dataclass

import torch

from ltx_core.flow_matching.random import named_generator, visit_generator
from ltx_core.flow_matching.sigmas import SigmaDraws, shifted_logit_normal
from ltx_core.training.config import TrainSettings
from ltx_core.training.order import Visit
from ltx_core.training.samples import SampleInfo

NO_CAPTION = ""


@dataclass(frozen=True)
class Draw:
    """Everything random about one sample. The generators are fresh: each is used once."""

    caption: str
    video_sigma: float
    audio_sigma: float
    video_noise: torch.Generator
    audio_noise: torch.Generator
    keep_first_frame: bool = False
    """The first latent frame is given clean and carries no loss."""


def train_draw(visit: Visit, settings: TrainSettings, video_tokens: int, audio_tokens: int) -> Draw:
    """The draw of one visit: a function of seed, visit and clip alone."""
    sample = visit.sample

    def generator(purpose: str) -> torch.Generator:
        return visit_generator(settings.seed, visit.number, sample.clip_id, purpose)

    def happens(purpose: str, probability: float) -> bool:
        return torch.rand((), generator=generator(purpose)).item() < probability

    def sigma(modality: str, num_tokens: int) -> float:
        return shifted_logit_normal(SigmaDraws.draw(generator(f"sigma/{modality}")), num_tokens).item()

    video_sigma = sigma("video", video_tokens)
    return Draw(
        caption=NO_CAPTION if happens("caption_dropout", settings.caption_dropout) else sample.caption,
        video_sigma=video_sigma,
        audio_sigma=sigma("audio", audio_tokens) if settings.independent_sigmas else video_sigma,
        video_noise=generator("noise/video"),
        audio_noise=generator("noise/audio"),
        keep_first_frame=happens("first_frame", settings.first_frame_probability),
    )


def eval_draw(sample: SampleInfo, sigma: float, seed: int) -> Draw:
    """The draw of one held-out clip at one noise level: the same at every eval, for the base and for the LoRA."""
    return Draw(
        caption=sample.caption,
        video_sigma=sigma,
        audio_sigma=sigma,
        video_noise=named_generator("eval", seed, sample.clip_id, repr(sigma), "noise/video"),
        audio_noise=named_generator("eval", seed, sample.clip_id, repr(sigma), "noise/audio"),
    )
