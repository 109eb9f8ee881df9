"""What training asks of the data, whoever stores it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor


@dataclass(frozen=True)
class SampleInfo:
    """All that is known of a clip without reading its tensors."""

    clip_id: str
    bucket: str
    """`WxH@F`; clips of one bucket have latents of one shape."""
    split: Literal["train", "eval"]
    repeats: int
    """Visits an epoch."""
    frame_rate: float
    """Frames per second after resampling."""
    has_audio_loss: bool
    """Whether its sound is trained on; silence and absence are not."""
    caption: str
    has_sound: bool = True
    """Whether sound is stored with it, silence too; without, it is trained as a picture alone."""
    absent_sound: tuple[int, ...] = ()
    """Audio latent frames at which its sound is missing; they carry no loss."""


class SampleSource(Protocol):
    """The encoded clips and captions of one run. The same clip always gives the same tensors."""

    @property
    def samples(self) -> Sequence[SampleInfo]:
        """Every clip, both splits."""

    def load(self, clip_id: str) -> dict[str, Tensor]:
        """`video` [C, F, H, W] and, for a clip with sound, `audio` [A, D]: normalised latents. With CREPA, of clips
        that are trained on, `features` [F, H, W, D'] of the frames that latent frames stand for."""

    def text(self, caption: str) -> dict[str, Tensor]:
        """Text features of a caption, as `ltx_core.text.contexts` takes them; "" is the empty caption."""
