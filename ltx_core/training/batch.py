"""The tensors of one batch, wherever they lie; `collate` makes them on the CPU in float32."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Self

import torch
from torch import Tensor

from ltx_core.conditioning.kinds import mask_tokens, prefix_tokens
from ltx_core.conditioning.reference import downscale_factor, reference_positions
from ltx_core.denoiser.tokens import audio_positions, first_frame_keyframes, pack_video, video_positions
from ltx_core.errors import DataError, ShapeError
from ltx_core.flow_matching.path import add_noise, draw_noise, velocity_target
from ltx_core.shapes import LatentShape, audio_latent_frames
from ltx_core.training.draws import Draw
from ltx_core.training.samples import SampleInfo, SampleSource


@dataclass(frozen=True)
class NoisyStream:
    """One modality of a batch, noised. Letters as in ltx_core/shapes.py."""

    noisy: Tensor
    """[B, T, C]"""
    target: Tensor
    """[B, T, C] velocity."""
    weight: Tensor
    """[B, T], 1 where a token carries loss."""
    sigma: Tensor
    """[B]"""
    timesteps: Tensor
    """[B], or [B, T] where some tokens are clean."""
    positions: Tensor
    """As the denoiser's `Stream` wants them."""
    keyframes: Tensor | None = None
    """[B, T, 1] single-frame marks; video only."""

    @property
    def given(self) -> Tensor:
        """Tokens that the model is told are clean: bool [B, T]. Of a stream that is given whole, sigma is 0."""
        times = self.timesteps if self.timesteps.ndim == 2 else self.timesteps[:, None].expand(self.noisy.shape[:2])
        return times == 0

    def to(self, device: torch.device | str) -> Self:
        """The same on `device`; from pinned memory the copy runs beside what follows."""
        return self._each(lambda tensor: _to(tensor, device))

    def followed_by(self, tokens: Tensor, positions: Tensor) -> "NoisyStream":
        """The video stream with clean tokens [B, R, C] after its own, at time 0 and without loss, at positions
        [B, 3, R, 2]."""
        zeros = tokens.new_zeros(tokens.shape[:2])
        times = self.timesteps if self.timesteps.ndim == 2 else self.timesteps[:, None].expand(self.noisy.shape[:2])
        marks = self.keyframes
        return NoisyStream(
            noisy=torch.cat([self.noisy, tokens], dim=1),
            target=torch.cat([self.target, torch.zeros_like(tokens)], dim=1),
            weight=torch.cat([self.weight, zeros], dim=1),
            sigma=self.sigma,
            timesteps=torch.cat([times, zeros], dim=1),
            positions=torch.cat([self.positions, positions], dim=2),
            keyframes=None if marks is None else torch.cat([marks, zeros[:, :, None]], dim=1),
        )

    def pinned(self) -> Self:
        """The same in host memory that a GPU can fetch from by itself."""
        return self._each(lambda tensor: tensor.pin_memory())

    def rows(self, index: Tensor) -> Self:
        """The samples at `index`, [N]."""
        return self._each(lambda tensor: tensor.index_select(0, index))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(tensor) for name, tensor in found.items() if tensor is not None})


@dataclass(frozen=True)
class TrainBatch:
    """Clips of one shape, ready for a forward."""

    clip_ids: tuple[str, ...]
    captions: tuple[str, ...]
    """As drawn: dropped ones are empty."""
    video: NoisyStream
    audio: NoisyStream | None
    """None if only video is trained, and of clips without sound."""
    shape: LatentShape
    """Of the video latents."""
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    """Tensors of training methods, [B, ...], as `<method>.<what>`."""
    measures: Mapping[str, Tensor] = field(default_factory=dict)
    """Figures of methods, [B], about how samples came to where they are; logged and not trained on."""

    @property
    def num_tokens(self) -> int:
        audio = self.audio.noisy.shape[:2].numel() if self.audio is not None else 0
        return self.video.noisy.shape[:2].numel() + audio

    def to(self, device: torch.device | str) -> "TrainBatch":
        """The same on `device`."""
        audio = self.audio.to(device) if self.audio is not None else None
        extras = {name: _to(tensor, device) for name, tensor in self.extras.items()}
        return replace(self, video=self.video.to(device), audio=audio, extras=extras)

    def rows(self, index: Tensor) -> "TrainBatch":
        """The samples at `index`, [N], which lies on the CPU, as the batch does; without measures."""
        numbers = index.tolist()
        clip_ids, captions = (tuple(texts[i] for i in numbers) for texts in (self.clip_ids, self.captions))
        audio = self.audio.rows(index) if self.audio is not None else None
        extras = {name: tensor.index_select(0, index) for name, tensor in self.extras.items()}
        return TrainBatch(clip_ids, captions, self.video.rows(index), audio, self.shape, extras)

    def pinned(self) -> "TrainBatch":
        """The same in host memory that a GPU can fetch from by itself."""
        audio = self.audio.pinned() if self.audio is not None else None
        extras = {name: tensor.pin_memory() for name, tensor in self.extras.items()}
        return replace(self, video=self.video.pinned(), audio=audio, extras=extras)


def _to(tensor: Tensor, device: torch.device | str) -> Tensor:
    """On `device`; from pinned memory the copy runs beside what follows."""
    return tensor.to(device, non_blocking=tensor.is_pinned())


DrawFor = Callable[[int, int, int], Draw]
"""(index in the batch, video tokens, audio tokens) -> draw."""
ExtrasFor = Callable[[TrainBatch, Sequence[Mapping[str, Tensor]]], Mapping[str, Tensor]]
"""(batch without extras, stored tensors of its clips) -> extras."""


def collate(
    samples: Sequence[SampleInfo],
    source: SampleSource,
    draw_for: DrawFor,
    *,
    audio_channels: int | None,
    extras_for: ExtrasFor = lambda *_: {},
) -> TrainBatch:
    """Load, draw and noise the clips of one batch.

    Clips without sound make a batch without an audio stream: the forward then isolates the picture, as Lightricks'
    inference without sound does, and nothing stands in for what is not there. `audio_channels` is the width of an audio
    token, or None to leave sound out. `extras_for` gives what training methods bring.

    Raises:
        DataError: a latent is not finite or does not have the shape that its clip has; names the clip. The batch mixes
            clips with and without audio, or with and without references.
    """
    loaded = [source.load(sample.clip_id) for sample in samples]
    shape = _common_shape(samples, loaded)
    num_audio = audio_latent_frames(shape.pixels().frames / samples[0].frame_rate)
    draws = [draw_for(i, shape.tokens, num_audio) for i in range(len(samples))]
    clean = [_finite(s, x["video"]) for s, x in zip(samples, loaded, strict=True)]
    counted = torch.stack([_counted(s, x, shape) for s, x in zip(samples, loaded, strict=True)])
    video = _noisy_video(clean, counted, draws, shape, samples[0].frame_rate)
    if references := _references(samples, loaded):
        video = _with_references(video, references, samples, shape, draws[0])
    audio = None
    if audio_channels is not None and _have_audio(samples, loaded):
        sounds = [_audio(s, x, (num_audio, audio_channels)) for s, x in zip(samples, loaded, strict=True)]
        audio = _noisy_audio(sounds, samples, draws)
    clip_ids, captions = tuple(s.clip_id for s in samples), tuple(d.caption for d in draws)
    batch = TrainBatch(clip_ids, captions, video, audio, shape)
    return replace(batch, extras=extras_for(batch, loaded))


def _noisy_video(
    clean: Sequence[Tensor], counted: Tensor, draws: Sequence[Draw], shape: LatentShape, frame_rate: float
) -> NoisyStream:
    """`counted`, [B, T]: how much the mask of each clip lets a token count; one that is given counts nothing.

    A sample whose mask counts nothing but what it would be given is given nothing. So every sample carries a video
    loss, but those whose whole video is given: a stream at sigma 0, as in sampling.
    """
    tokens = pack_video(torch.stack(list(clean)))
    noise = torch.stack([draw_noise(tuple(tokens.shape[1:]), d.video_noise) for d in draws])
    sigma = torch.tensor([0.0 if d.video_given else d.video_sigma for d in draws])
    learnt = torch.tensor([not d.video_given for d in draws])
    known = torch.stack([_known(d, shape) for d in draws])
    known &= counted.masked_fill(known, 0.0).any(dim=1, keepdim=True)
    timesteps = sigma[:, None].masked_fill(known, 0.0) if bool(known.any()) else sigma
    return NoisyStream(
        noisy=add_noise(tokens, noise, timesteps),
        target=velocity_target(tokens, noise),
        weight=counted.masked_fill(known | ~learnt[:, None], 0.0),
        sigma=sigma,
        timesteps=timesteps,
        positions=video_positions(shape, frame_rate, len(draws)),
        keyframes=first_frame_keyframes(shape, len(draws)),
    )


def _references(samples: Sequence[SampleInfo], loaded: Sequence[dict[str, Tensor]]) -> list[Tensor]:
    """References [C, F, H, W] of these clips: of all of them, or none."""
    found = [_finite(s, x["reference"]) for s, x in zip(samples, loaded, strict=True) if "reference" in x]
    shapes = {tuple(one.shape) for one in found}
    if len(shapes) > 1 or (found and len(found) < len(samples)):
        raise DataError(
            f"a batch mixes clips with references of several shapes, or with and without them: "
            f"{', '.join(sample.clip_id for sample in samples)}; encode them again with --force"
        )
    return found


def _with_references(
    video: NoisyStream, references: Sequence[Tensor], samples: Sequence[SampleInfo], shape: LatentShape, first: Draw
) -> NoisyStream:
    """The stream and its clean references; without them where the first sample drops its own, because all samples of a
    batch are equally long. Source: Lightricks' trainer, which draws once a batch."""
    if first.reference_dropped:
        return video
    latents = torch.stack(list(references))
    reference = LatentShape(*latents.shape[2:])
    try:
        factor = downscale_factor(shape, reference)
    except ShapeError as error:
        raise DataError(f"clip {samples[0].clip_id}: {error}; encode it again with --force") from error
    positions = reference_positions(reference, factor, samples[0].frame_rate, len(samples))
    return video.followed_by(pack_video(latents), positions)


def _counted(sample: SampleInfo, loaded: dict[str, Tensor], shape: LatentShape) -> Tensor:
    """[T] in [0, 1]: a clip's mask, or 1 everywhere."""
    if "mask" not in loaded:
        return torch.ones(shape.tokens)
    mask = _finite(sample, loaded["mask"])
    if tuple(mask.shape) != tuple(shape):
        raise DataError(
            f"clip {sample.clip_id} has a mask {list(mask.shape)}; {list(shape)} is wanted; encode it again"
        )
    return mask.flatten()


def _known(draw: Draw, shape: LatentShape) -> Tensor:
    """Video tokens that are given: bool [T]. One latent frame is always left to learn."""
    known = prefix_tokens(shape, min(draw.given_frames, shape.frames - 1))
    return known if draw.given_mask is None else known | mask_tokens(draw.given_mask, shape)


def _noisy_audio(sounds: Sequence[Tensor], samples: Sequence[SampleInfo], draws: Sequence[Draw]) -> NoisyStream:
    """Sound that is given is a whole stream at sigma 0, as in sampling: clean tokens, and a gate that knows it."""
    tokens = torch.stack(list(sounds))
    noise = torch.stack([draw_noise(tuple(tokens.shape[1:]), d.audio_noise) for d in draws])
    sigma = torch.tensor([0.0 if d.audio_given else d.audio_sigma for d in draws])
    learnt = torch.tensor([s.has_audio_loss and not d.audio_given for s, d in zip(samples, draws, strict=True)])
    weight = learnt.float()[:, None].repeat(1, tokens.shape[1])
    for row, sample in zip(weight, samples, strict=True):
        row[list(sample.absent_sound)] = 0.0
    return NoisyStream(
        noisy=add_noise(tokens, noise, sigma),
        target=velocity_target(tokens, noise),
        weight=weight,
        sigma=sigma,
        timesteps=sigma,
        positions=audio_positions(tokens.shape[1], len(draws)),
    )


def _common_shape(samples: Sequence[SampleInfo], loaded: Sequence[dict[str, Tensor]]) -> LatentShape:
    shapes = {tuple(x["video"].shape): s.clip_id for s, x in zip(samples, loaded, strict=True)}
    rates = {s.frame_rate for s in samples}
    if len(shapes) > 1 or len(rates) > 1:
        raise DataError(
            f"a batch mixes video latents {shapes} at {sorted(rates)} frames a second; clips of bucket "
            f"{samples[0].bucket} must agree. Encode them again with --force."
        )
    _, frames, height, width = next(iter(shapes))
    return LatentShape(frames, height, width)


def _have_audio(samples: Sequence[SampleInfo], loaded: Sequence[dict[str, Tensor]]) -> bool:
    """True if these clips have sound: all of them, or none."""
    for sample, tensors in zip(samples, loaded, strict=True):
        if sample.has_audio_loss and "audio" not in tensors:
            raise DataError(f"clip {sample.clip_id} is to be trained on audio and has none stored; encode it again")
    without = [sample.clip_id for sample, tensors in zip(samples, loaded, strict=True) if "audio" not in tensors]
    if without and len(without) < len(samples):
        raise DataError(
            f"a batch mixes clips with audio and clips without ({', '.join(without)}), and a forward runs the audio "
            f"stream for all of them or for none; encode them again with --force"
        )
    return not without


def _audio(sample: SampleInfo, loaded: dict[str, Tensor], wanted: tuple[int, int]) -> Tensor:
    """Audio tokens [A, D]."""
    if tuple(loaded["audio"].shape) != wanted:
        raise DataError(
            f"clip {sample.clip_id} has audio latents {list(loaded['audio'].shape)}; {list(wanted)} is wanted for "
            f"bucket {sample.bucket} at {sample.frame_rate} frames a second. Encode it again."
        )
    return _finite(sample, loaded["audio"])


def _finite(sample: SampleInfo, latent: Tensor) -> Tensor:
    latent = latent.float()
    if not bool(torch.isfinite(latent).all()):
        raise DataError(f"clip {sample.clip_id} has a latent with NaN or infinity; encode it again, or leave it out")
    return latent
