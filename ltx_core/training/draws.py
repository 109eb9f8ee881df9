"""Random draws for one sample before it is noised: noise levels, noise, caption, conditioning."""

from dataclasses import dataclass
from typing import Literal, TypedDict

import torch

from ltx_core.flow_matching.path import SigmaDraws, logit_normal, shifted_logit_normal, uniform
from ltx_core.rng import named_generator, occurrence_generator
from ltx_core.training.config import TrainSettings
from ltx_core.training.order import SampleOccurrence
from ltx_core.training.samples import SampleInfo

NO_CAPTION = ""
ImageGiven = Literal["nothing", "first_frame", "prefix", "video"]
StreamGiven = Literal["neither", "audio", "video"]


@dataclass(frozen=True)
class Draw:
    """Everything random about one sample. The generators are fresh: each is used once."""

    caption: str
    video_sigma: float
    audio_sigma: float
    video_noise: torch.Generator
    audio_noise: torch.Generator
    given_frames: int = 0
    """So many of the first latent frames are given clean and carry no loss: 1 is a first frame, more are a prefix."""
    given_mask: torch.Tensor | None = None
    """[F, H, W]; places above 0.5 are given likewise."""
    audio_given: bool = False
    """The clip's sound is given clean at sigma 0 and carries no loss: sound to video."""
    video_given: bool = False
    """The same of the whole video: video to sound."""
    picture_given: ImageGiven = "nothing"
    """The same of the picture by its name: one latent frame may be a first frame or a short prefix."""
    reference_dropped: bool = False
    """True if a reference that the clip has is left out; that of the first clip of a batch decides for all."""


class _GivenDraw(TypedDict):
    """What is given, as `Draw` has it."""

    audio_given: bool
    video_given: bool
    picture_given: ImageGiven
    given_frames: int


def train_draw(occurrence: SampleOccurrence, settings: TrainSettings, video_tokens: int, audio_tokens: int) -> Draw:
    """The draw of one occurrence: a function of seed, occurrence and clip alone.

    The picture is given nothing, a first frame, or a prefix, never two of them; one number in [0, 1) decides, so that
    the shares of occurrences are exactly the probabilities. Whether the sound is given is drawn apart and may join any;
    whether the whole video is, by the same number, so that never both are.
    """
    sample = occurrence.sample

    def generator(purpose: str) -> torch.Generator:
        return occurrence_generator(settings.seed, occurrence.number, sample.clip_id, purpose)

    def sigma(modality: str, num_tokens: int) -> float:
        return _sigma(SigmaDraws.draw(generator(f"sigma/{modality}")), num_tokens, settings)

    video_sigma = sigma("video", video_tokens)
    return Draw(
        caption=_caption(occurrence, settings),
        video_sigma=video_sigma,
        audio_sigma=sigma("audio", audio_tokens) if settings.independent_sigmas else video_sigma,
        video_noise=generator("noise/video"),
        audio_noise=generator("noise/audio"),
        reference_dropped=_chance(occurrence, settings, "reference_dropout") < settings.reference_dropout,
        **_given(sample, _chance(occurrence, settings, "first_frame"), _stream_given(occurrence, settings), settings),
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
    """True if this occurrence's sound is trained on: the clip has some that is, and it is not given."""
    return occurrence.sample.has_audio_loss and _stream_given(occurrence, settings) != "audio"


def carries_video_loss(occurrence: SampleOccurrence, settings: TrainSettings) -> bool:
    """True if this occurrence's video is trained on: it is not given as a whole."""
    return _stream_given(occurrence, settings) != "video"


def most_given_frames(settings: TrainSettings) -> int:
    """So many of the first latent frames are given at most, over all occurrences that these settings make."""
    if settings.prefix_probability:
        return settings.prefix_latent_frames
    return 1 if settings.first_frame_probability else 0


def eval_draw(sample: SampleInfo, sigma: float, settings: TrainSettings) -> Draw:
    """The draw of one held-out clip at one noise level: the same at every eval, for the base and for the LoRA.

    What is given is drawn from the same probabilities as in training, so that what is measured is what is trained; the
    caption is never dropped, and the streams share a noise level, as in sampling.
    """

    def generator(purpose: str) -> torch.Generator:
        return named_generator("eval", settings.seed, sample.clip_id, repr(sigma), purpose)

    def chance(purpose: str) -> float:
        return torch.rand((), generator=generator(purpose)).item()

    return Draw(
        caption=sample.caption,
        video_sigma=sigma,
        audio_sigma=sigma,
        video_noise=generator("noise/video"),
        audio_noise=generator("noise/audio"),
        reference_dropped=chance("reference_dropout") < settings.reference_dropout,
        **_given(sample, chance("first_frame"), _whole(sample, chance("audio_given"), settings), settings),
    )


def _chance(occurrence: SampleOccurrence, settings: TrainSettings, purpose: str) -> float:
    """Uniform in [0, 1)."""
    generator = occurrence_generator(settings.seed, occurrence.number, occurrence.sample.clip_id, purpose)
    return torch.rand((), generator=generator).item()


def _given(sample: SampleInfo, chance: float, stream: StreamGiven, settings: TrainSettings) -> _GivenDraw:
    """What is given of a sample of which `stream` is given as a whole."""
    if stream == "video":
        return {"audio_given": False, "video_given": True, "picture_given": "video", "given_frames": 0}
    picture, frames = _picture_given(sample, chance, settings)
    return {
        "audio_given": stream == "audio",
        "video_given": False,
        "picture_given": picture,
        "given_frames": frames,
    }


def _picture_given(sample: SampleInfo, chance: float, settings: TrainSettings) -> tuple[ImageGiven, int]:
    chance = 1.0 if sample.is_one_frame else chance  # nothing would be left to learn
    if chance < settings.first_frame_probability:
        return "first_frame", 1
    if chance < settings.first_frame_probability + settings.prefix_probability:
        return "prefix", settings.prefix_latent_frames
    return "nothing", 0


def _caption(occurrence: SampleOccurrence, settings: TrainSettings) -> str:
    """One of the clip's captions, or none; each of several is as likely."""
    sample = occurrence.sample
    share = settings.caption_dropout if sample.caption_dropout is None else sample.caption_dropout
    if _chance(occurrence, settings, "caption_dropout") < share:
        return NO_CAPTION
    captions = (sample.caption, *sample.variants)
    if len(captions) == 1:
        return sample.caption
    return captions[int(_chance(occurrence, settings, "caption") * len(captions))]


def _stream_given(occurrence: SampleOccurrence, settings: TrainSettings) -> StreamGiven:
    return _whole(occurrence.sample, _chance(occurrence, settings, "audio_given"), settings)


def _whole(sample: SampleInfo, chance: float, settings: TrainSettings) -> StreamGiven:
    """The stream of a sample that is given as a whole. Without audio to learn it is never the video, or nothing would
    be left to learn."""
    if chance < settings.audio_conditioning_probability:
        return "audio"
    both = settings.audio_conditioning_probability + settings.video_conditioning_probability
    return "video" if chance < both and sample.has_audio_loss else "neither"
