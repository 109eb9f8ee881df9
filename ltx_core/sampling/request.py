"""Requests for renders, checked when they are made, and named by their content. No torch but for guidance's types."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Literal, get_args

from ltx_core.errors import ConfigError, ShapeError
from ltx_core.io.digest import text_digest
from ltx_core.sampling.guidance import Guidance, StreamGuidance
from ltx_core.sampling.schedule import UPSCALED_SIGMAS, ScheduleName, check_steps
from ltx_core.shapes import SPACE_STRIDE, LatentShape, PixelShape, audio_latent_frames

Mode = Literal["t2v", "t2a", "i2v", "s2v", "v2a", "extend", "inpaint", "reference", "composed"]


@dataclass(frozen=True, kw_only=True)
class Upscaling:
    """The second half of a two-stage render: the latent of a render at half the size is upscaled and sampled further.

    Raises:
        ConfigError: the sigmas cannot be walked.
    """

    upsampler: str
    """Digest of the latent upsampler's file."""
    adapters: tuple[tuple[str, float], ...] = ()
    """Digest and strength of each adapter that is added for it, such as the distilled LoRA."""
    sigmas: tuple[float, ...] = UPSCALED_SIGMAS

    def __post_init__(self) -> None:
        check_sigmas(self.sigmas)


def check_sigmas(sigmas: Sequence[float]) -> None:
    """See that noise levels can be walked.

    Raises:
        ConfigError: they do not fall from 1 or below to 0.
    """
    falls = all(following < sigma for sigma, following in pairwise(sigmas))
    if len(sigmas) < 2 or not falls or sigmas[0] > 1 or sigmas[-1] != 0:
        raise ConfigError(
            f"sigmas are {list(sigmas)}; two or more that fall, from 1 or below to 0, are wanted, such as "
            f"{list(UPSCALED_SIGMAS)}"
        )


@dataclass(frozen=True, kw_only=True)
class RenderRequest:
    """One render. Equal requests with equal weights give equal bytes.

    Raises:
        ShapeError: the VAE cannot make a clip of this size or length; names the nearest that it can.
        ConfigError: another field cannot work; names it.
    """

    prompt: str
    negative_prompt: str = ""
    """Followed by the unconditional pass; unused, and left out of the key, while no `cfg` differs from 1."""
    seed: int = 0
    width: int
    height: int
    num_frames: int
    frame_rate: float
    num_steps: int = 30
    guidance: Guidance = field(default_factory=Guidance)
    mode: Mode = "t2v"
    """`t2v`: text alone; `t2a` likewise, and audio alone is made. The conditioning is in `i2v` the first frame, in
    `s2v` the audio track, in `v2a` the video, in `extend` the first frames, in `inpaint` places of the video, in
    `reference` a video to follow."""
    conditioning_key: str | None = None
    """Digest of the conditioning beside the text; with, and only with, a mode other than these two."""
    schedule: ScheduleName = "dev"
    upscaling: Upscaling | None = None
    """Sample at half the width and height first. None: at full size at once."""

    def __post_init__(self) -> None:
        _check_shape(PixelShape(self.num_frames, self.height, self.width))
        if self.upscaling is not None:
            check_halves(self.width, self.height)
        check_steps(self.schedule, self.num_steps)
        if not self.prompt.strip():
            raise ConfigError("prompt is empty; say what is to be seen and heard")
        if not math.isfinite(self.frame_rate) or self.frame_rate <= 0:
            raise ConfigError(f"frame_rate is {self.frame_rate}; it must be above 0, such as 24")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; it must be 0 or more")
        if self.mode not in get_args(Mode):
            raise ConfigError(f"mode is {self.mode!r}; use one of {', '.join(get_args(Mode))}")
        if (self.mode in ("t2v", "t2a")) != (self.conditioning_key is None):
            raise ConfigError(
                f"mode is {self.mode!r} and conditioning_key {self.conditioning_key!r}; "
                f"give the digest of the frame, audio or places with, and only with, a mode other than 't2v'"
            )

    def of_audio(self) -> "RenderRequest":
        """The same render of text, of the audio alone: without what guides the video, or both towards each other."""
        audio = replace(self.guidance.audio, modality=1.0)
        guidance = replace(self.guidance, video=StreamGuidance(), audio=audio)
        return replace(self, mode="t2a", guidance=guidance, upscaling=None)

    @property
    def grid(self) -> LatentShape:
        """Latent frames, rows and columns."""
        return PixelShape(self.num_frames, self.height, self.width).latent()

    @property
    def seconds(self) -> float:
        return self.num_frames / self.frame_rate

    @property
    def audio_tokens(self) -> int:
        """Audio latent frames, as many as Lightricks' inference makes for this length."""
        return audio_latent_frames(self.seconds)

    def halved(self) -> "RenderRequest":
        """The render at half the size that is upscaled for this one."""
        return replace(self, width=self.width // 2, height=self.height // 2, upscaling=None)

    @property
    def needs_negative(self) -> bool:
        """True if any stream is guided away from the negative prompt."""
        return "unconditional" in self.guidance.passes()

    def key(self, weights: Mapping[str, str], adapters: Sequence[tuple[str, float]] = ()) -> str:
        """Digest of everything but the program that decides this render.

        Args:
            weights: identity of each part that shapes the result: transformer, connectors, VAEs, vocoder, text encoder.
            adapters: digest of each LoRA file and how much of it is added; none for the base model.
        """
        settings = asdict(self)
        if not self.needs_negative:
            del settings["negative_prompt"]
        if self.upscaling is None:  # so that keys of other renders stay what they were
            del settings["upscaling"]
        content = json.dumps([settings, dict(weights), list(adapters)], sort_keys=True)
        return text_digest("render", content)


def has_halves(width: int, height: int) -> bool:
    """True if a render of this size can be upscaled from one of half the size."""
    return width % (2 * SPACE_STRIDE) == height % (2 * SPACE_STRIDE) == 0


def check_halves(width: int, height: int) -> None:
    """See that a render of this size can be upscaled from one of half the size.

    Raises:
        ShapeError: it cannot; names the nearest size that can.
    """
    step = 2 * SPACE_STRIDE
    if not has_halves(width, height):
        nearest = [max(edge // step, 1) * step for edge in (width, height)]
        raise ShapeError(
            f"a render of {width}x{height} cannot be upscaled from one of half the size: both edges must be multiples "
            f"of {step}, such as {nearest[0]}x{nearest[1]}"
        )


def _check_shape(shape: PixelShape) -> None:
    if min(shape) < 1:
        raise ShapeError(
            f"clip [frames, height, width] is {list(shape)}; every one must be positive, such as "
            f"{list(PixelShape(*(max(edge, 1) for edge in shape)).floored())}"
        )
    shape.latent()
