"""The data of training, as the store provides it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from torch import Tensor

from datasets_spec import Frames, Latent, Text
from ltx_core.errors import DataError
from ltx_core.shapes import LatentShape
from ltx_core.store.features import stored_features
from ltx_core.store.tensor_items import ShardReader

NO_VIDEO = "0x0@"
"""The beginning of the names of buckets of audio alone."""


@dataclass(frozen=True)
class ClipInfo:
    """All that is known of a clip without reading its tensors."""

    clip_id: str
    bucket: str
    """`WxH@F`; clips of one bucket have latents of one shape."""
    split: Literal["train", "eval"]
    repeats: int
    """Samples in an epoch."""
    frame_rate: float
    """Frames per second after resampling."""
    has_audio_loss: bool
    """True if its audio is trained on; silence and absence are not."""
    caption: str
    has_sound: bool = True
    """True if audio is stored with it, silence too; without, it is trained as video alone."""
    absent_sound: tuple[int, ...] = ()
    """Audio latent frames at which its audio is missing; they carry no loss."""

    variants: tuple[str, ...] = ()
    """Further captions; each occurrence draws one of all."""
    caption_dropout: float | None = None
    """Fraction of its occurrences with an empty caption; None: that of the settings."""

    reference: LatentShape | None = None
    """Of the latent of the video that it is to follow; None without one."""
    audio_reference: int = 0
    """Audio latent frames of the audio that it is to follow; 0 without any."""
    keyframes: tuple[int, ...] = ()
    """Numbers of the frames that are stored by themselves too."""
    has_mask: bool = False
    """True if a mask is stored with it."""

    @property
    def has_video(self) -> bool:
        """False of audio alone, whose video latent has as many frames as its audio lasts, and no place in them."""
        return not self.bucket.startswith(NO_VIDEO)

    @property
    def is_one_frame(self) -> bool:
        """True of an image: if its frame were clean, nothing would be left to learn."""
        return self.bucket.endswith("@1")


SampleInfo = ClipInfo
"""Its earlier name, for the modules that are not renamed yet."""


class SampleSource(Protocol):
    """The encoded clips and captions of one run. The same clip always gives the same tensors."""

    @property
    def samples(self) -> Sequence[ClipInfo]:
        """Every clip, both splits."""

    def load(self, clip_id: str) -> dict[str, Tensor]:
        """`video` [C, F, H, W] and, for a clip with audio, `audio` [A, D]: normalised latents; of a clip with a
        reference, `reference` [C, F', H', W'], with an audio reference, `audio_reference` [R, D], and with keyframes,
        `keyframes` [C, K, H, W]. With CREPA, of clips that are trained on, `features` [F, H, W, D'] of the frames that
        latent frames stand for."""

    def text(self, caption: str) -> dict[str, Tensor]:
        """Text features of a caption, as `ltx_core.text.contexts` takes them; "" is the empty caption."""


class StoreSource:
    """Encoded clips and texts of two manifests, and of a third features of frames; a `SampleSource`."""

    def __init__(
        self, latents: Iterable[Latent], texts: Iterable[Text], root: Path, frames: Iterable[Frames] = ()
    ) -> None:
        self._latents = {row.clip_id: row for row in latents}
        self._texts = {row.text: row for row in texts}
        self._frames = {row.clip_id: row for row in frames}
        self._reader = ShardReader(root)
        self.samples = [_info(row) for row in self._latents.values()]

    def load(self, clip_id: str) -> dict[str, Tensor]:
        """`video` [C, F, H, W] and, for a clip with audio, `audio` [A, D]; with frames' features, `features`
        [F, H, W, D']. An item may hold more audio than its row says: one that was encoded as silence, and is absence.

        Raises:
            DataError: the shard is gone or damaged.
        """
        row, frames = self._latents[clip_id], self._frames.get(clip_id)
        tensors = self._reader.read(row.shard, row.offset, row.size, row.sha256)
        if not row.has_sound:
            tensors.pop("audio", None)
        if frames is not None:
            tensors |= self._reader.read(frames.shard, frames.offset, frames.size, frames.sha256)
        return tensors

    def text(self, caption: str) -> dict[str, Tensor]:
        """Text features of a caption, valid tokens only.

        Raises:
            DataError: the caption was not embedded.
        """
        row = self._texts.get(caption)
        if row is None:
            raise DataError(f"no features for the caption {caption[:60]!r}; run `--from embed_text`")
        return stored_features(self._reader.read(row.shard, row.offset, row.size, row.sha256))


def _info(row: Latent) -> ClipInfo:
    return ClipInfo(
        clip_id=row.clip_id,
        bucket=row.bucket,
        split=row.split,
        repeats=row.repeats,
        frame_rate=row.frame_rate,
        has_audio_loss=row.has_audio_loss,
        caption=row.caption,
        has_sound=row.has_sound,
        absent_sound=tuple(row.absent_sound),
        variants=tuple(row.variants),
        caption_dropout=row.caption_dropout,
        reference=LatentShape(*row.reference_shape[1:]) if row.reference_shape else None,
        keyframes=tuple(row.keyframes),
        audio_reference=row.audio_reference_tokens,
        has_mask=row.has_mask,
    )
