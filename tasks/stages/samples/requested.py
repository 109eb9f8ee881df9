"""The samples that a training run is to render. No torch: `plan` asks too."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from datasets_spec import Latent
from ltx_core.media.spectrogram import PICTURED
from ltx_core.sampling.guidance import Guidance, StreamGuidance
from ltx_core.sampling.request import RenderRequest
from ltx_core.shapes import PixelShape
from ltx_core.training.config import TrainSettings
from ltx_core.training.plan_settings import Bucket, bucket_of
from ltx_core.training.sample_settings import SampleSettings
from tasks.runtime.shared import Shared

USUAL_RATE = 25.0
"""Frames per second of a sample where only images are trained on, which have no rate."""


def sample_requests(settings: TrainSettings, shared: Shared, buckets: Sequence[Bucket]) -> tuple[RenderRequest, ...]:
    """Return every sample of a step; none where samples are off, or where there is no prompt or no clip."""
    samples, prompts = settings.samples, shared.prompts.validation
    seen = [bucket for bucket in buckets if bucket.shape.height and settings.modalities != "audio"]
    if not samples_are_made(settings) or not prompts or not buckets:
        return ()
    shape, frame_rate = _size(samples, seen or [replace(bucket, shape=_shown(bucket)) for bucket in buckets])
    requests = (
        _request(samples, shared, prompt, seed, shape, frame_rate)
        for prompt in prompts[: samples.max_prompts]
        for seed in samples.seeds
    )
    return tuple(requests) if seen else tuple(request.of_audio() for request in requests)


def _shown(bucket: Bucket) -> PixelShape:
    """The shape of a sample of audio alone, which shows its spectrogram."""
    width, height = PICTURED
    return PixelShape(bucket.shape.frames, height, width)


def samples_are_made(settings: TrainSettings) -> bool:
    """True if the run renders any, or may."""
    samples = settings.samples
    return samples.every_steps > 0 and (settings.epochs is not None or samples.are_made_in(settings.steps))


def followed_requests(
    settings: TrainSettings, shared: Shared, rows: Sequence[Latent]
) -> tuple[tuple[RenderRequest, str], ...]:
    """Return every sample of a step that follows a reference, with the held-out clip that has it."""
    if not samples_are_made(settings):
        return ()
    held = [row for row in rows if row.split == "eval" and row.reference_shape and row.video_shape[1] > 1]
    found = []
    for row in sorted(held, key=lambda row: row.clip_key)[: settings.samples.reference_clips]:
        bucket = bucket_of(row.bucket, row.frame_rate, 1)
        followed: dict[str, Any] = {"mode": "reference", "conditioning_key": row.latent_key}
        for seed in settings.samples.seeds:
            request = _request(settings.samples, shared, row.caption, seed, bucket.shape, row.frame_rate, **followed)
            found.append((request, row.clip_id))
    return tuple(found)


def _request(
    samples: SampleSettings,
    shared: Shared,
    prompt: str,
    seed: int,
    shape: PixelShape,
    frame_rate: float,
    **followed: Any,
) -> RenderRequest:
    return RenderRequest(
        prompt=prompt,
        negative_prompt=shared.prompts.negative,
        seed=seed,
        width=shape.width,
        height=shape.height,
        num_frames=shape.frames,
        frame_rate=frame_rate,
        num_steps=samples.num_steps,
        schedule=samples.schedule,
        guidance=_guidance(samples),
        **followed,
    )


def _size(samples: SampleSettings, buckets: Sequence[Bucket]) -> tuple[PixelShape, float]:
    """The size asked for, and for the rest that of the bucket that is trained on most, the larger one of equals; one of
    images only if there are no videos."""
    moving = [bucket for bucket in buckets if bucket.shape.frames > 1] or buckets
    most = max(moving, key=lambda bucket: (bucket.occurrences, bucket.shape.floored().latent().tokens, bucket.name))
    own = most.shape.floored()
    shape = PixelShape(samples.whole_frames or own.frames, samples.height or own.height, samples.width or own.width)
    return shape, samples.frame_rate or (most.frame_rate if own.frames > 1 else USUAL_RATE)


def _guidance(samples: SampleSettings) -> Guidance:
    video, audio = (StreamGuidance(cfg=cfg, rescale=samples.rescale) for cfg in (samples.video_cfg, samples.audio_cfg))
    return Guidance(video=video, audio=audio)


def sample_line(settings: TrainSettings, requests: Sequence[RenderRequest]) -> str:
    """For people: how many samples of what size are rendered, and when."""
    first = requests[0]
    passes = len(first.guidance.passes())
    return (
        f"{len(requests)} sample{'s' if len(requests) > 1 else ''} every {settings.samples.every_steps} steps, and of "
        f"the base before the first: {first.width}x{first.height}, {first.num_frames} frames, {first.num_steps} "
        f"sampling steps of {passes} forward{'s' if passes > 1 else ''} (train_lora.samples)"
    )
