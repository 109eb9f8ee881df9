"""Random draws for one sample before it is noised: noise levels, noise, caption, conditioning."""

from dataclasses import dataclass

import torch

from ltx_core.flow_matching import SigmaDraws, logit_normal, shifted_logit_normal, uniform
from ltx_core.rng import named_generator, occurrence_generator
from ltx_core.training.condition_settings import Condition
from ltx_core.training.conditions import drawn_conditions, whole_stream
from ltx_core.training.config import TrainSettings
from ltx_core.training.order import SampleOccurrence
from ltx_core.training.samples import ClipInfo

NO_CAPTION = ""


@dataclass(frozen=True)
class Draw:
    """Everything random about one sample. The generators are fresh: each is used once."""

    caption: str
    video_sigma: float
    audio_sigma: float
    video_noise: torch.Generator
    audio_noise: torch.Generator
    conditions: tuple[Condition, ...] = ()
    """The conditions that hold; of those that make a sample longer, the first clip of a batch decides for all."""

    def has(self, kind: str) -> bool:
        """True if this kind of condition is drawn."""
        return any(condition.kind == kind for condition in self.conditions)


def train_draw(occurrence: SampleOccurrence, settings: TrainSettings, video_tokens: int, audio_tokens: int) -> Draw:
    """The draw of one occurrence: a function of seed, occurrence and clip alone.

    Each kind of condition has its own number in [0, 1), so that none moves another, nor noise, sigmas and captions.
    """
    clip = occurrence.sample

    def generator(purpose: str) -> torch.Generator:
        return occurrence_generator(settings.seed, occurrence.number, clip.clip_id, purpose)

    def sigma(modality: str, num_tokens: int) -> float:
        return _sigma(SigmaDraws.draw(generator(f"sigma/{modality}")), num_tokens, settings)

    video_sigma = sigma("video", video_tokens)
    return Draw(
        caption=_caption(occurrence, settings),
        video_sigma=video_sigma,
        audio_sigma=sigma("audio", audio_tokens) if settings.independent_sigmas or not video_tokens else video_sigma,
        video_noise=generator("noise/video"),
        audio_noise=generator("noise/audio"),
        conditions=drawn_conditions(clip, settings, lambda purpose: _chance(occurrence, settings, purpose)),
    )


def _sigma(draws: SigmaDraws, num_tokens: int, settings: TrainSettings) -> float:
    match settings.sigma_sampling:
        case "uniform":
            return uniform(draws).item()
        case "logit_normal":
            return logit_normal(draws, settings.sigma_mean, settings.sigma_std).item()
        case _:
            return shifted_logit_normal(draws, num_tokens).item()


def carries_audio_loss(occurrence: SampleOccurrence, settings: TrainSettings) -> bool:
    """True if this occurrence's audio is trained on: the clip has some that is, and it is not clean as a whole."""
    return occurrence.sample.has_audio_loss and _whole(occurrence, settings) != "audio"


def carries_video_loss(occurrence: SampleOccurrence, settings: TrainSettings) -> bool:
    """True if this occurrence's video is trained on: it is not clean as a whole."""
    return _whole(occurrence, settings) != "video"


def _whole(occurrence: SampleOccurrence, settings: TrainSettings) -> str:
    return whole_stream(occurrence.sample, settings, lambda purpose: _chance(occurrence, settings, purpose))


def eval_draw(clip: ClipInfo, sigma: float, settings: TrainSettings) -> Draw:
    """The draw of one held-out clip at one noise level: the same at every eval, for the base and for the LoRA.

    Conditioning is drawn from the same probabilities as in training, so that what is measured is what is trained; the
    caption is never dropped, and the streams share a noise level, as in sampling.
    """

    def generator(purpose: str) -> torch.Generator:
        return named_generator("eval", settings.seed, clip.clip_id, repr(sigma), purpose)

    def chance(purpose: str) -> float:
        return torch.rand((), generator=generator(purpose)).item()

    return Draw(
        caption=clip.caption,
        video_sigma=sigma,
        audio_sigma=sigma,
        video_noise=generator("noise/video"),
        audio_noise=generator("noise/audio"),
        conditions=drawn_conditions(clip, settings, chance),
    )


def _chance(occurrence: SampleOccurrence, settings: TrainSettings, purpose: str) -> float:
    """Uniform in [0, 1)."""
    generator = occurrence_generator(settings.seed, occurrence.number, occurrence.sample.clip_id, purpose)
    return torch.rand((), generator=generator).item()


def _caption(occurrence: SampleOccurrence, settings: TrainSettings) -> str:
    """One of the clip's captions, or none; each of several is as likely."""
    clip = occurrence.sample
    probability = settings.caption_dropout if clip.caption_dropout is None else clip.caption_dropout
    if _chance(occurrence, settings, "caption_dropout") < probability:
        return NO_CAPTION
    captions = (clip.caption, *clip.variants)
    if len(captions) == 1:
        return clip.caption
    return captions[int(_chance(occurrence, settings, "caption") * len(captions))]
