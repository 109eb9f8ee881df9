"""The shapes of LTX-2, by name. Letters used in every shape comment of this package:

B batch    C channels    F latent frames    H W latent height and width    T tokens (F*H*W)    D model width
S text tokens    A audio latent frames    M mel bins    N samples of audio

Canonical: latents [B, C, F, H, W]; tokens [B, T, D], order frame, height, width; positions [B, 3, T, 2] (seconds, pixel
row, pixel column; [start, end)); sigma [B] from 0 (data) to 1 (noise); timesteps [B] or [B, T], sigma by token.
"""

from typing import NamedTuple

from ltx_core.errors import ShapeError

TIME_STRIDE = 8
"""Pixel frames a latent frame, after the first, which holds one."""
SPACE_STRIDE = 32
"""Pixels a latent row or column."""
AUDIO_RATE = 16_000
"""Samples per second that the audio VAE takes."""
MEL_HOP = 160
"""Samples a mel frame."""
AUDIO_STRIDE = 4
"""Mel frames an audio latent frame: 16000 / 160 / 4 = 25 latent frames a second."""

NOMINAL_RATE = 25.0
"""Frames a second that audio without video is counted in, as many as it has audio latent frames."""


AUDIO_LATENT_SECONDS = AUDIO_STRIDE * MEL_HOP / AUDIO_RATE
"""Of an audio latent frame: 25 are a second."""


class ReferenceScale(NamedTuple):
    """By which whole numbers a video has more than its reference."""

    space: int = 1
    """Edges of a reference are so many times shorter."""
    time: int = 1
    """A reference has one frame for so many of its video's."""

    def of(self, video: "LatentShape") -> "LatentShape":
        """The grid of the reference of a video; both have a first latent frame that is one frame."""
        frames = 1 + (video.frames - 1) // self.time
        return LatentShape(frames, video.height // self.space, video.width // self.space)


SAME_SIZE = ReferenceScale()


class PixelShape(NamedTuple):
    """A clip in pixels."""

    frames: int
    height: int
    width: int

    def latent(self) -> "LatentShape":
        """The causal VAE keeps frame 0 alone, so frames must be 8k+1, and edges multiples of 32.

        Raises:
            ShapeError: the VAE cannot take this shape.
        """
        if self.frames % TIME_STRIDE != 1 or self.height % SPACE_STRIDE or self.width % SPACE_STRIDE:
            raise ShapeError(
                f"clip [frames, height, width] is {list(self)}; the VAE wants 8k+1 frames and edges that are multiples "
                f"of 32, such as {list(self.floored())}"
            )
        return LatentShape(
            (self.frames - 1) // TIME_STRIDE + 1, self.height // SPACE_STRIDE, self.width // SPACE_STRIDE
        )

    def floored(self) -> "PixelShape":
        """The largest shape not above this one that the VAE takes."""
        return PixelShape(
            floor_frames(self.frames),
            max(self.height // SPACE_STRIDE, 1) * SPACE_STRIDE,
            max(self.width // SPACE_STRIDE, 1) * SPACE_STRIDE,
        )


class LatentShape(NamedTuple):
    """A clip in latent frames, rows and columns."""

    frames: int
    height: int
    width: int

    @property
    def tokens(self) -> int:
        return self.frames * self.height * self.width

    def pixels(self) -> PixelShape:
        return PixelShape((self.frames - 1) * TIME_STRIDE + 1, self.height * SPACE_STRIDE, self.width * SPACE_STRIDE)


def floor_frames(frames: int) -> int:
    """The largest 8k+1 not above `frames`, at least 1."""
    return max((frames - 1) // TIME_STRIDE * TIME_STRIDE + 1, 1)


def audio_latent_frames(seconds: float) -> int:
    """Audio latent frames of `seconds`: round(25 * seconds), at least 1, as Lightricks' inference counts them."""
    return max(round(seconds * (AUDIO_RATE / MEL_HOP / AUDIO_STRIDE)), 1)  # in this order: 9.3 s are 233


def audio_samples(seconds: float, rate: int = AUDIO_RATE) -> int:
    """Samples that audio of `seconds` is cut to: the nearest number with as many audio latent frames as `seconds`.

    281 frames at 47.952 a second are 146.5007 latent frames, and their nearest number of samples at 16 kHz is 146.5,
    which rounds to the other side; one sample more is 147 again, as training and sampling count by the seconds.
    """
    nearest = round(seconds * rate)
    wanted = audio_latent_frames(seconds)
    return min((nearest, nearest + 1, nearest - 1), key=lambda samples: audio_latent_frames(samples / rate) != wanted)
