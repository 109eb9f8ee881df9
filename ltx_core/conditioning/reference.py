"""References: tokens that are appended to those of the video or the audio, with positions of their own, which an
IC-LoRA learns to follow.

Source: Lightricks' trainer and inference. The trainer puts the tokens before the sample's and inference after them;
attention does not know an order but that of the positions, so both are the same.
"""

from dataclasses import dataclass

from torch import Tensor

from ltx_core.conditioning.state import SampleState
from ltx_core.denoiser.tokens import audio_positions, pack_video, video_positions
from ltx_core.errors import ShapeError
from ltx_core.shapes import LatentShape, ReferenceScale


def reference_scale(video: LatentShape, reference: LatentShape) -> ReferenceScale:
    """By how much a reference is smaller than its video.

    Its first latent frame is one pixel frame, as the video's is; the others stand for `time` latent frames each.

    Raises:
        ShapeError: a factor is no whole number, or not the same for both edges.
    """
    space = max(video.height // max(reference.height, 1), 1)
    time = max((video.frames - 1) // max(reference.frames - 1, 1), 1)
    whole = ((reference.frames - 1) * time + 1, reference.height * space, reference.width * space)
    if whole != tuple(video):
        raise ShapeError(
            f"the reference is {list(reference)} latent frames, rows and columns and its video {list(video)}; rows and "
            f"columns smaller by one whole number, and frames after the first fewer by one, are wanted"
        )
    return ReferenceScale(space, time)


def reference_positions(reference: LatentShape, scale: ReferenceScale, frame_rate: float) -> Tensor:
    """Bounds of a reference's tokens as `video_positions` gives them, [1, 3, T, 2].

    Each place is `scale.space` times as large, so that they lie all over the video's frame. Of `frame_rate`, the
    video's, the reference has one frame for `scale.time`; all are moved (time - 1) frames of the video earlier, but not
    before 0, so that the reference ends with the video. Source: Lightricks' trainer.
    """
    positions = video_positions(reference, frame_rate / scale.time)
    if scale.time > 1:
        positions[:, 0] = (positions[:, 0] - (scale.time - 1) / frame_rate).clamp(min=0)
    positions[:, 1:] *= scale.space
    return positions


@dataclass(frozen=True)
class Reference:
    """A video that is to be followed."""

    latent: Tensor
    """[C, F, H, W], normalised as `encode_video` gives it."""
    frame_rate: float
    """Frames per second of the sample."""
    strength: float = 1.0
    """Above 0. At 1 the reference is shown as it is, below it in part."""

    def apply(self, state: SampleState) -> SampleState:
        """The state with the reference's tokens after those of the video.

        Raises:
            ShapeError: the latent has other channels than the sample, or is not smaller by whole numbers.
            ConfigError: the strength is not above 0 and up to 1.
        """
        channels = state.video.tokens.shape[2]
        if self.latent.ndim != 4 or self.latent.shape[0] != channels:
            raise ShapeError(f"reference latent is {list(self.latent.shape)}; [{channels}, F, H, W] is wanted")
        shape = LatentShape(*self.latent.shape[1:])
        positions = reference_positions(shape, reference_scale(state.grid, shape), self.frame_rate)
        return state.beside("video", pack_video(self.latent[None]), positions, self.strength)


@dataclass(frozen=True)
class AudioReference:
    """Audio that is to be followed, such as a voice."""

    tokens: Tensor
    """[R, D], normalised and packed as `encode_audio` gives them; any number of them, from the sample's time 0 on."""
    strength: float = 1.0
    """As `Reference.strength`."""

    def apply(self, state: SampleState) -> SampleState:
        """The state with the reference's tokens after those of the audio.

        Raises:
            ShapeError: the tokens are not as wide as the sample's, or there is none.
            ConfigError: the strength is not above 0 and up to 1.
        """
        channels = state.audio.tokens.shape[2]
        if self.tokens.ndim != 2 or self.tokens.shape[1] != channels or not len(self.tokens):
            raise ShapeError(f"reference audio is {list(self.tokens.shape)} tokens; [R, {channels}] is wanted")
        return state.beside("audio", self.tokens[None], audio_positions(len(self.tokens)), self.strength)
