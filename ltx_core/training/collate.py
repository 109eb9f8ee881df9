"""From clips and draws to the tensors of one batch, on the CPU in float32."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ltx_core.conditioning.mask import mask_tokens
from ltx_core.conditioning.prefix import prefix_tokens
from ltx_core.denoiser.packing import pack_video
from ltx_core.denoiser.positions import audio_positions, first_frame_keyframes, video_positions
from ltx_core.errors import DataError
from ltx_core.flow_matching.noise import add_noise, draw_noise, velocity_target
from ltx_core.shapes import LatentShape, audio_latent_frames
from ltx_core.training.batch import NoisyStream, TrainBatch
from ltx_core.training.draws import Draw
from ltx_core.training.samples import SampleInfo, SampleSource

DrawFor = Callable[[int, int, int], Draw]
"""(index in the batch, video tokens, audio tokens) -> draw."""


def collate(
    samples: Sequence[SampleInfo],
    source: SampleSource,
    draw_for: DrawFor,
    *,
    audio_channels: int | None,
    with_features: bool = False,
) -> TrainBatch:
    """Load, draw and noise the clips of one batch.

    Clips without sound make a batch without an audio stream: the forward then isolates the picture, as Lightricks'
    inference without sound does, and nothing stands in for what is not there. `audio_channels` is the width of an audio
    token, or None to leave sound out. `with_features`: bring the features of the clips' frames.

    Raises:
        DataError: a latent is not finite, or it or features do not have the shape that its clip has; names the clip.
            The batch mixes clips with and without sound.
    """
    loaded = [source.load(sample.clip_id) for sample in samples]
    shape = _common_shape(samples, loaded)
    num_audio = audio_latent_frames(shape.pixels().frames / samples[0].frame_rate)
    draws = [draw_for(i, shape.tokens, num_audio) for i in range(len(samples))]
    clean = [_finite(s, x["video"]) for s, x in zip(samples, loaded, strict=True)]
    counted = torch.stack([_counted(s, x, shape) for s, x in zip(samples, loaded, strict=True)])
    video = _noisy_video(clean, counted, draws, shape, samples[0].frame_rate)
    audio = None
    if audio_channels is not None and _have_sound(samples, loaded):
        sounds = [_sound(s, x, (num_audio, audio_channels)) for s, x in zip(samples, loaded, strict=True)]
        audio = _noisy_audio(sounds, samples, draws)
    features = None
    if with_features:
        features = torch.stack([_features(s, x, shape) for s, x in zip(samples, loaded, strict=True)])
    clip_ids, captions = tuple(s.clip_id for s in samples), tuple(d.caption for d in draws)
    return TrainBatch(clip_ids, captions, video, audio, shape, features=features)


def _noisy_video(
    clean: Sequence[Tensor], counted: Tensor, draws: Sequence[Draw], shape: LatentShape, frame_rate: float
) -> NoisyStream:
    """`counted`, [B, T]: how much the mask of each clip lets a token count; one that is given counts nothing.

    A sample whose mask counts nothing but what it would be given is given nothing: every sample carries a video loss.
    """
    tokens = pack_video(torch.stack(list(clean)))
    noise = torch.stack([draw_noise(tuple(tokens.shape[1:]), d.video_noise) for d in draws])
    sigma = torch.tensor([d.video_sigma for d in draws])
    known = torch.stack([_known(d, shape) for d in draws])
    known &= counted.masked_fill(known, 0.0).any(dim=1, keepdim=True)
    timesteps = sigma[:, None].masked_fill(known, 0.0) if bool(known.any()) else sigma
    return NoisyStream(
        noisy=add_noise(tokens, noise, timesteps),
        target=velocity_target(tokens, noise),
        weight=counted.masked_fill(known, 0.0),
        sigma=sigma,
        timesteps=timesteps,
        positions=video_positions(shape, frame_rate, len(draws)),
        keyframes=first_frame_keyframes(shape, len(draws)),
    )


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
    sigma = torch.tensor([0.0 if d.sound_given else d.audio_sigma for d in draws])
    learnt = torch.tensor([s.has_audio_loss and not d.sound_given for s, d in zip(samples, draws, strict=True)])
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


def _have_sound(samples: Sequence[SampleInfo], loaded: Sequence[dict[str, Tensor]]) -> bool:
    """Whether these clips have sound: all of them, or none."""
    for sample, tensors in zip(samples, loaded, strict=True):
        if sample.has_audio_loss and "audio" not in tensors:
            raise DataError(f"clip {sample.clip_id} is to be trained on sound and has none stored; encode it again")
    without = [sample.clip_id for sample, tensors in zip(samples, loaded, strict=True) if "audio" not in tensors]
    if without and len(without) < len(samples):
        raise DataError(
            f"a batch mixes clips with sound and clips without ({', '.join(without)}), and a forward runs the sound's "
            f"stream for all of them or for none; encode them again with --force"
        )
    return not without


def _sound(sample: SampleInfo, loaded: dict[str, Tensor], wanted: tuple[int, int]) -> Tensor:
    """Audio tokens [A, D]."""
    if tuple(loaded["audio"].shape) != wanted:
        raise DataError(
            f"clip {sample.clip_id} has audio latents {list(loaded['audio'].shape)}; {list(wanted)} is wanted for "
            f"bucket {sample.bucket} at {sample.frame_rate} frames a second. Encode it again."
        )
    return _finite(sample, loaded["audio"])


def _features(sample: SampleInfo, loaded: dict[str, Tensor], shape: LatentShape) -> Tensor:
    """Features [F, P, D] of a clip's frames, one at each token's place, in the dtype they are stored in."""
    if "features" not in loaded:
        raise DataError(f"clip {sample.clip_id} has no features of its frames; run `--from embed_frames`")
    features = loaded["features"]
    if tuple(features.shape[:3]) != tuple(shape):
        raise DataError(
            f"clip {sample.clip_id} has frame features {list(features.shape)}; [{shape.frames}, {shape.height}, "
            f"{shape.width}, D] is wanted for bucket {sample.bucket}. Run `--from embed_frames` with --force."
        )
    return features.flatten(1, 2)


def _finite(sample: SampleInfo, latent: Tensor) -> Tensor:
    latent = latent.float()
    if not bool(torch.isfinite(latent).all()):
        raise DataError(f"clip {sample.clip_id} has a latent with NaN or infinity; encode it again, or set it aside")
    return latent
