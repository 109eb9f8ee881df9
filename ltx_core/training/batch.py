"""The tensors of one batch, wherever they lie; `collate` makes them on the CPU in float32."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from ltx_core.conditioning.state import SampleState, StreamState
from ltx_core.denoiser.tokens import audio_positions, first_frame_keyframes, pack_video, video_positions
from ltx_core.errors import DataError, ShapeError
from ltx_core.flow_matching import add_noise, draw_noise, velocity_target
from ltx_core.shapes import LatentShape, audio_latent_frames
from ltx_core.training.condition_settings import Condition
from ltx_core.training.conditions import LONGER, conditioning
from ltx_core.training.draws import Draw
from ltx_core.training.samples import ClipInfo, SampleSource


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
    """[B], or [B, T] where some tokens are conditioning."""
    positions: Tensor
    """As the denoiser's `Stream` wants them."""
    keyframes: Tensor | None = None
    """[B, T, 1] single-frame marks; video only."""

    @property
    def clean(self) -> Tensor:
        """Tokens at timestep 0: bool [B, T]. Of a stream that is clean as a whole, sigma is 0 too."""
        times = self.timesteps if self.timesteps.ndim == 2 else self.timesteps[:, None].expand(self.noisy.shape[:2])
        return times == 0

    def each(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same with every tensor changed."""
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
    """None if only video is trained, and of clips without audio."""
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
        """The same on `device`; from pinned memory the copy runs beside what follows."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=tensor.is_pinned()))

    def rows(self, index: Tensor) -> "TrainBatch":
        """The samples at `index`, [N], which lies on the CPU, as the batch does; without measures."""
        numbers = index.tolist()
        clip_ids, captions = (tuple(texts[i] for i in numbers) for texts in (self.clip_ids, self.captions))
        chosen = self._each(lambda tensor: tensor.index_select(0, index))
        return replace(chosen, clip_ids=clip_ids, captions=captions, measures={})

    def pinned(self) -> "TrainBatch":
        """The same in host memory that a GPU can fetch from by itself."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> "TrainBatch":
        audio = None if self.audio is None else self.audio.each(change)
        extras = {name: change(tensor) for name, tensor in self.extras.items()}
        return replace(self, video=self.video.each(change), audio=audio, extras=extras)


DrawFor = Callable[[int, int, int], Draw]
"""(index in the batch, video tokens, audio tokens) -> draw."""
ExtrasFor = Callable[[TrainBatch, Sequence[Mapping[str, Tensor]]], Mapping[str, Tensor]]
"""(batch without extras, stored tensors of its clips) -> extras."""


def collate(
    clips: Sequence[ClipInfo],
    source: SampleSource,
    draw_for: DrawFor,
    *,
    audio_channels: int | None,
    with_video: bool = True,
    extras_for: ExtrasFor = lambda *_: {},
) -> TrainBatch:
    """Load, draw and noise the clips of one batch.

    Clips without audio make a batch without an audio stream: the forward then isolates the video, as Lightricks'
    inference without audio does, and nothing stands in for what is not there. Likewise, audio alone makes a batch whose
    video has no token. `audio_channels` is the width of an audio token, or None to leave audio out; without
    `with_video` the video is. `extras_for` gives what training methods bring.

    Raises:
        DataError: a latent is not finite or does not have the shape that its clip has; names the clip. The batch mixes
            clips with and without audio, or with and without references.
    """
    loaded = [_float(clip, source.load(clip.clip_id)) for clip in clips]
    if not with_video:
        loaded = [_without_video(tensors) for tensors in loaded]
    shape = _common_shape(clips, loaded)
    num_audio = audio_latent_frames(shape.pixels().frames / clips[0].frame_rate)
    draws = [draw_for(i, shape.tokens, num_audio) for i in range(len(clips))]
    _check_appended(clips, loaded)
    heard = audio_channels is not None and _have_audio(clips, loaded)
    if heard and audio_channels is not None:
        _check_audio(clips, loaded, (num_audio, audio_channels))
    longer = [condition for condition in draws[0].conditions if condition.kind in LONGER]
    conditioned = [
        _Clip(clip, tensors, shape, heard, draw).conditioned(
            [c for c in draw.conditions if c.kind not in LONGER] + longer
        )
        for clip, tensors, draw in zip(clips, loaded, draws, strict=True)
    ]
    video = _noised(
        [clip.video for clip in conditioned],
        [draw.video_sigma for draw in draws],
        video_positions(shape, clips[0].frame_rate, len(draws)),
        keyframes=first_frame_keyframes(shape, len(draws)),
    )
    audio = None
    if heard:
        sigmas = [draw.audio_sigma for draw in draws]
        audio = _noised([clip.audio for clip in conditioned], sigmas, audio_positions(num_audio, len(draws)))
    clip_ids, captions = tuple(clip.clip_id for clip in clips), tuple(d.caption for d in draws)
    batch = TrainBatch(clip_ids, captions, video, audio, shape)
    return replace(batch, extras=extras_for(batch, loaded))


def _without_video(loaded: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a clip as if it were audio alone."""
    return {"video": loaded["video"][:, :, :0, :0]} | {name: x for name, x in loaded.items() if "audio" in name}


@dataclass(frozen=True)
class _Part:
    """One stream of one clip: its data and noise, its conditioning, and how much each token counts."""

    data: Tensor
    """[1, T, C]"""
    noise: Tensor
    """[1, T, C]"""
    state: StreamState
    """At sigma 1."""
    counted: Tensor
    """[1, T] in [0, 1]"""

    @property
    def weight(self) -> Tensor:
        """[1, T + R]: what counts of the clip's own tokens, less where they are conditioning; 0 of those beside
        them."""
        own = self.counted.shape[1]
        return pad(self.counted * (1 - self.state.strength[:, :own]), (0, self.state.strength.shape[1] - own))


class _Clip:
    """A clip on the way into a batch."""

    def __init__(self, clip: ClipInfo, tensors: dict[str, Tensor], shape: LatentShape, heard: bool, draw: Draw) -> None:
        self.info, self.tensors, self.shape = clip, tensors, shape
        data = pack_video(tensors["video"][None])
        noise = draw_noise(tuple(data.shape[1:]), draw.video_noise)[None]
        self.video = _Part(data, noise, StreamState.noise(noise), _counted(clip, tensors, shape)[None])
        audio = tensors["audio"][None] if heard else data.new_zeros(1, 0, 1)
        noise = draw_noise(tuple(audio.shape[1:]), draw.audio_noise)[None]
        self.audio = _Part(audio, noise, StreamState.noise(noise), _heard(clip, audio.shape[1])[None])
        self._generators = {"video": draw.video_noise, "audio": draw.audio_noise}

    def conditioned(self, conditions: Iterable[Condition]) -> Self:
        """The clip with these conditions, but for those that would leave nothing to learn of a stream that is not clean
        whole: every sample carries a loss.

        Raises:
            DataError: a stored tensor does not fit the clip.
        """
        state = SampleState(self.video.state, self.audio.state, self.shape, self._noise)
        frames = 0
        for condition in conditions:
            kind = conditioning(
                condition,
                self.tensors,
                self.shape,
                keyframes=self.info.keyframes,
                frame_rate=self.info.frame_rate,
                given_frames=frames,
            )
            if kind is None:
                continue
            try:
                after = kind.apply(state)
            except ShapeError as error:
                raise DataError(f"clip {self.info.clip_id}: {error}; encode it again with --force") from error
            video, audio = replace(self.video, state=after.video), replace(self.audio, state=after.audio)
            streams = ((self.video, video), (self.audio, audio))
            is_left = all(bool(new.weight.any()) or not bool(old.weight.any()) for old, new in streams)
            if is_left or condition.kind in ("audio", "video"):
                state, self.video, self.audio = after, video, audio
                frames += condition.frames if condition.kind in ("first_frame", "prefix") else 0
        return self

    def _noise(self, place: str, shape: Sequence[int]) -> Tensor:
        """Of tokens that are appended, after the sample's own from the same generator."""
        return draw_noise(tuple(shape), self._generators[place.partition("/")[0]])


def _noised(
    parts: Sequence[_Part], sigmas: Sequence[float], positions: Tensor, keyframes: Tensor | None = None
) -> NoisyStream:
    """One stream of a batch at its noise levels, each token at its own. A stream that is clean as a whole is at sigma
    0, as in sampling: clean tokens, and a gate that knows it."""
    tensors = zip(*((part.data, part.noise, part.state.strength) for part in parts), strict=True)
    data, noise, strength = map(torch.cat, tensors)
    own = data.shape[1]
    whole = (strength[:, :own] == 1).all(dim=1)
    sigma = torch.tensor(sigmas).masked_fill(whole, 0.0)
    by_token = bool(strength[~whole].any())
    timesteps = sigma[:, None] * (1 - strength) if by_token else sigma
    noisy, target = add_noise(data, noise, timesteps[:, :own] if by_token else timesteps), velocity_target(data, noise)
    appended = strength.shape[1] - own
    if appended:
        start, shown = (torch.cat([x[:, own:] for x in tensors]) for tensors in _beside(parts))
        noisy = torch.cat([noisy, shown + sigma[:, None, None] * (start - shown)], dim=1)
        places = parts[0].state.appended
        assert places is not None  # since there are such tokens
        positions = torch.cat([positions, places.expand(len(parts), -1, -1, -1)], dim=2)
    return NoisyStream(
        noisy=noisy,
        target=pad(target, (0, 0, 0, appended)),
        weight=torch.cat([part.weight for part in parts]),
        sigma=sigma,
        timesteps=timesteps,
        positions=positions,
        keyframes=None if keyframes is None else pad(keyframes, (0, 0, 0, appended)),
    )


def _beside(parts: Sequence[_Part]) -> tuple[list[Tensor], list[Tensor]]:
    """Tokens at sigma 1, and what their conditioning shows."""
    states = [part.state for part in parts]
    return [state.tokens for state in states], [state.data for state in states if state.data is not None]


def _check_appended(clips: Sequence[ClipInfo], loaded: Sequence[dict[str, Tensor]]) -> None:
    """See that all clips of a batch have references and keyframes of one shape, or none."""
    names = ("reference", "audio_reference", "keyframes")
    shapes = {tuple(x[name].shape if name in x else None for name in names) for x in loaded}
    if len(shapes) > 1:
        raise DataError(
            f"a batch mixes clips with references or keyframes of several shapes, or with and without them: "
            f"{', '.join(clip.clip_id for clip in clips)}; encode them again with --force"
        )


def _counted(clip: ClipInfo, loaded: dict[str, Tensor], shape: LatentShape) -> Tensor:
    """[T] in [0, 1]: a clip's mask, or 1 everywhere."""
    if "mask" not in loaded:
        return torch.ones(shape.tokens)
    mask = loaded["mask"]
    if tuple(mask.shape) != tuple(shape):
        raise DataError(f"clip {clip.clip_id} has a mask {list(mask.shape)}; {list(shape)} is wanted; encode it again")
    return mask.flatten()


def _heard(clip: ClipInfo, count: int) -> Tensor:
    """[A], 1 where the audio is learnt."""
    weight = torch.full((count,), float(clip.has_audio_loss))
    weight[[place for place in clip.absent_sound if place < count]] = 0.0
    return weight


def _common_shape(clips: Sequence[ClipInfo], loaded: Sequence[dict[str, Tensor]]) -> LatentShape:
    shapes = {tuple(x["video"].shape): clip.clip_id for clip, x in zip(clips, loaded, strict=True)}
    rates = {clip.frame_rate for clip in clips}
    if len(shapes) > 1 or len(rates) > 1:
        raise DataError(
            f"a batch mixes video latents {shapes} at {sorted(rates)} frames a second; clips of bucket "
            f"{clips[0].bucket} must agree. Encode them again with --force."
        )
    _, frames, height, width = next(iter(shapes))
    return LatentShape(frames, height, width)


def _have_audio(clips: Sequence[ClipInfo], loaded: Sequence[dict[str, Tensor]]) -> bool:
    """True if these clips have audio: all of them, or none."""
    for clip, tensors in zip(clips, loaded, strict=True):
        if clip.has_audio_loss and "audio" not in tensors:
            raise DataError(f"clip {clip.clip_id} is to be trained on audio and has none stored; encode it again")
    without = [clip.clip_id for clip, tensors in zip(clips, loaded, strict=True) if "audio" not in tensors]
    if without and len(without) < len(clips):
        raise DataError(
            f"a batch mixes clips with audio and clips without ({', '.join(without)}), and a forward runs the audio "
            f"stream for all of them or for none; encode them again with --force"
        )
    return not without


def _check_audio(clips: Sequence[ClipInfo], loaded: Sequence[dict[str, Tensor]], wanted: tuple[int, int]) -> None:
    for clip, tensors in zip(clips, loaded, strict=True):
        if tuple(tensors["audio"].shape) != wanted:
            raise DataError(
                f"clip {clip.clip_id} has audio latents {list(tensors['audio'].shape)}; {list(wanted)} is wanted for "
                f"bucket {clip.bucket} at {clip.frame_rate} frames a second. Encode it again."
            )


def _float(clip: ClipInfo, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a clip in float32, what methods bring as it is."""
    names = ("video", "audio", "mask", "reference", "audio_reference", "keyframes")
    return {name: _finite(clip, x) if name in names else x for name, x in tensors.items()}


def _finite(clip: ClipInfo, latent: Tensor) -> Tensor:
    latent = latent.float()
    if not bool(torch.isfinite(latent).all()):
        raise DataError(f"clip {clip.clip_id} has a latent with NaN or infinity; encode it again, or leave it out")
    return latent
