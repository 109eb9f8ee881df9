"""Decoded clips in, latents out, the device one batch ahead: the loop of `encode_latents` and of its benchmark."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ltx_core.shapes import PixelShape
from ltx_core.transfer import Arriving, one_behind, to_device, to_host


class Decoded(NamedTuple):
    """A clip on the host."""

    key: str
    frames: Tensor
    """uint8 [F, H, W, 3]."""
    audio: Tensor | None
    """float32 [2, N]."""
    mask: Tensor | None = None
    """float32 [F', H', W'] in [0, 1]: how much each latent place counts in training."""
    reference: Tensor | None = None
    """uint8 [F, H, W, 3] of the video that the clip is to follow."""
    keyframes: tuple[int, ...] = ()
    """Numbers of the frames that are encoded as single images too."""
    audio_reference: Tensor | None = None
    """float32 [2, N] of the audio that the clip's audio is to follow."""

    @property
    def shape(self) -> PixelShape:
        """Frames, height and width."""
        return PixelShape(*self.frames.shape[:3])

    @property
    def form(self) -> tuple[PixelShape, PixelShape | None, int]:
        """The shapes of the clip and of its reference, and the number of its keyframes."""
        reference = None if self.reference is None else PixelShape(*self.reference.shape[:3])
        return self.shape, reference, len(self.keyframes)


@dataclass(frozen=True)
class ClipEncoder:
    """The interface that turns tensors on a device into latents there; each call queues work and does not wait."""

    device: torch.device
    video: Callable[[Tensor], Tensor]
    """uint8 [B, 3, F, H, W] to latents [B, C, F', H', W']."""
    audio: Callable[[Tensor], Tensor]
    """float32 [2, N] to tokens [A, D]."""
    batch_size: Callable[[PixelShape], int]
    """Clips of a shape that are encoded at once. Of the shape alone, see `encode_clips`."""


def encode_clips(clips: Iterable[Decoded], encoder: ClipEncoder) -> Iterator[tuple[Decoded, dict[str, Tensor]]]:
    """(clip, tensors) in order: `video` [C, F', H', W'] in bfloat16 and, with audio, `audio` [A, D] in float32, and the
    clip's own `mask`; with a reference, `reference` as `video`; with keyframes, `keyframes` [C, K, H', W'], each a
    latent of its own; with an audio reference, `audio_reference` as `audio`.

    Clips of equal form that follow one another are one batch. A batch is always full, the last clip standing in for
    those that are missing: with one shape the same kernels run, and a clip's latents are the same bits in any company.
    """
    uploads = _Uploads(encoder.device)

    def encode_images(batch: Sequence[Decoded], size: int) -> Tensor:
        """[B, C, K, H', W']"""
        places = max(encoder.batch_size(batch[0].shape._replace(frames=1)), size)
        numbers = range(len(batch[0].keyframes))
        frames = ([clip.frames[clip.keyframes[n]][None] for clip in batch] for n in numbers)
        encoded = [encoder.video(uploads.stack(images, places)) for images in frames]
        return torch.cat(encoded, dim=2).to(torch.bfloat16)

    def launch(batch: Sequence[Decoded]) -> Arriving:
        size = encoder.batch_size(batch[0].shape)
        latents = encoder.video(uploads.stack([clip.frames for clip in batch], size)).to(torch.bfloat16)
        made = {(place, "video"): latents[place] for place in range(len(batch))}
        references = [clip.reference for clip in batch if clip.reference is not None]
        if references:  # of all of them, or of none
            places = max(encoder.batch_size(PixelShape(*references[0].shape[:3])), size)
            encoded = encoder.video(uploads.stack(references, places)).to(torch.bfloat16)
            made |= {(place, "reference"): encoded[place] for place in range(len(batch))}
        if batch[0].keyframes:
            images = encode_images(batch, size)
            made |= {(place, "keyframes"): images[place] for place in range(len(batch))}
        for place, clip in enumerate(batch):
            for name, waveform in (("audio", clip.audio), ("audio_reference", clip.audio_reference)):
                if waveform is not None:
                    made[place, name] = encoder.audio(to_device(waveform, encoder.device)).float()
        return to_host(made)

    for batch, made in one_behind(_batches(clips, encoder.batch_size), launch):
        for place, clip in enumerate(batch):
            tensors = {name: tensor for (owner, name), tensor in made.items() if owner == place}
            yield clip, tensors if clip.mask is None else tensors | {"mask": clip.mask}


def _batches(clips: Iterable[Decoded], batch_size: Callable[[PixelShape], int]) -> Iterator[list[Decoded]]:
    batch: list[Decoded] = []
    for clip in clips:
        if batch and (clip.form != batch[0].form or len(batch) == batch_size(batch[0].shape)):
            yield batch
            batch = []
        batch.append(clip)
    if batch:
        yield batch


class _Uploads:
    """Bytes go to a GPU from pinned memory on a stream of their own, while the batch before is encoded."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def stack(self, clips: Sequence[Tensor], size: int) -> Tensor:
        """Frames [F, H, W, 3] of up to `size` clips as a batch [size, 3, F, H, W], channels last in memory."""
        if self.stream is None:
            return _channels_first(torch.stack([*clips, *[clips[-1]] * (size - len(clips))]))
        with torch.cuda.stream(self.stream):
            batch = torch.empty((size, *clips[0].shape), dtype=torch.uint8, device=self.device)
            for place, frames in enumerate(clips):
                batch[place].copy_(frames.pin_memory(), non_blocking=True)
            batch[len(clips) :] = batch[len(clips) - 1]
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self.stream)
        batch.record_stream(current)
        return _channels_first(batch)


def _channels_first(batch: Tensor) -> Tensor:
    return batch.permute(0, 4, 1, 2, 3)
