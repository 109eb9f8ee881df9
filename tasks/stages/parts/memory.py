"""Memory of the stages on the GPU and the host, planned before anything is computed: for `plan`, and for the run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from datasets_spec import Clip, DatasetSpec, Latent, Manifest
from ltx_core.checkpoint.expected.tree import flat
from ltx_core.checkpoint.expected.video_vae import video_vae
from ltx_core.engine.options import EngineOptions, LayerChoice
from ltx_core.errors import OutOfMemory
from ltx_core.media.buckets import bucket_size
from ltx_core.memory.plan import GIB, Plan, available_bytes, plan, usable_bytes
from ltx_core.memory.training import SampleWork, TrainingStep, advice
from ltx_core.memory.transformer import BatchShape
from ltx_core.memory.video_vae import VaeOptions, VaeWork, auto_batch_size
from ltx_core.sampling.request import RenderRequest
from ltx_core.shapes import NOMINAL_RATE, PixelShape, audio_latent_frames
from ltx_core.training.config import TrainSettings
from ltx_core.training.modalities import AsHeard, as_heard
from ltx_core.training.plan_settings import (
    ITEM_BYTES,
    TEXT_TOKENS,
    WIDEST_FEATURES,
    Bucket,
    batch_shape,
    bucket_of,
    largest_first,
    planned,
    workload,
)
from tasks.runtime.device import planned_card
from tasks.runtime.shared import MemoryConfig, Shared
from tasks.runtime.weights import open_model
from tasks.runtime.workspace import Workspace
from tasks.stages.parts.low_precision import known, plan_lines
from tasks.stages.samples.requested import sample_line, sample_requests, samples_are_made

Inputs = Mapping[str, Manifest[Any]]
BUCKETS_SHOWN = 3
"""Buckets whose peaks a plan lists."""
DOUBT = 1.1
"""A prediction may be above the truth by that; what is asked for by name is refused only beyond it."""
WIDE = (1920, 1080)
"""Footage of that shape is taken for granted until a dataset is split."""
SLOWEST = 24000 / 1001
"""And of that rate, where clips keep their own: the fewer frames a second, the more sound belongs to a clip."""


def memory_lines(settings: TrainSettings, shared: Shared, inputs: Inputs, workspace: Workspace) -> Sequence[str]:
    """For people: that there is no audio to train on, if there is none; the predicted peak on the card of
    `memory.gpu_gib` or of this machine, the choice, and why; how weights in 8 bits are held, as far as it is known.

    Raises:
        OutOfMemory: it cannot fit.
        ConfigError: the audio's layers are asked for, and no clip has audio.
    """
    compared = known(settings, shared, workspace)
    layers = None if compared is None else compared.choice
    held = plan_lines(settings, compared)
    settings, without_sound = _as_heard(settings, shared, inputs)
    lines = [without_sound] if without_sound else []
    buckets, assumed = known_buckets(shared, inputs)
    requests = sample_requests(settings, shared, buckets)
    held = [*([sample_line(settings, requests)] if requests else ()), *held]
    gpu_gib = planned_card(shared.memory)
    if gpu_gib is None:
        return [*lines, *held]
    width = feature_width(inputs)
    work = training_work(settings, shared, buckets, requests, num_ranks=_num_ranks(shared.memory), feature_width=width)
    host = available_bytes() // _num_ranks(shared.memory)
    _, choice = planned(settings, work, usable_bytes(gpu_gib), host, layers=layers)
    lines.append(f"{gpu_gib:g} GiB card: {choice.why}")
    lines += [f"{name}: {peak / GIB:.1f} GiB" for name, peak in _peaks(settings, work, choice, buckets)]
    if assumed:
        lines.append("the clips are not cut yet; widescreen footage is assumed")
    lines += check_fit(work, choice, usable_bytes(gpu_gib))
    return [*lines, *check_host(settings, work, choice, shared.memory), *held]


def _as_heard(settings: TrainSettings, shared: Shared, inputs: Inputs) -> AsHeard:
    """The settings as a run will follow them, from the clips as far as a stage has found them, else from what the
    datasets ask for."""
    for stage in ("encode_latents", "split"):
        if stage in inputs:
            return as_heard(settings, inputs[stage])
    mute = not any(dataset.audio.auto_split for dataset in shared.datasets)
    return as_heard(settings, ()) if mute else AsHeard(settings)


def training_work(
    settings: TrainSettings,
    shared: Shared,
    buckets: Sequence[Bucket],
    requests: Sequence[RenderRequest] = (),
    *,
    num_ranks: int = 1,
    feature_width: int = WIDEST_FEATURES,
) -> TrainingStep:
    """The largest batch of a run, and the samples between its steps."""
    checkpoint = open_model(shared.model)
    shapes = {name: checkpoint.shapes(name) for name in ("transformer", "connectors")}
    shards = num_ranks if shared.memory.sharding == "full" else 1
    work = workload(settings, buckets, shapes, shards=shards, feature_width=feature_width)
    return replace(work, samples=sample_work(settings, shared, requests, buckets))


def sample_work(
    settings: TrainSettings, shared: Shared, requests: Sequence[RenderRequest], buckets: Sequence[Bucket] = ()
) -> SampleWork | None:
    """Memory of rendering one sample after the other beside the model that trains; None without samples. Of those that
    follow references, `buckets` say how large they may be."""
    shown = [(PixelShape(one.num_frames, one.height, one.width), one.frame_rate, 0) for one in requests[:1]]
    if settings.samples.reference_clips and samples_are_made(settings):
        followed = (bucket for bucket in buckets if bucket.reference_tokens)
        shown += [(bucket.shape.floored(), bucket.frame_rate, bucket.reference_tokens) for bucket in followed]
    if not shown:
        return None
    shape, frame_rate, beside = max(shown, key=lambda one: one[0].latent().tokens + one[2])
    tokens, audio = shape.latent().tokens + beside, audio_latent_frames(shape.frames / frame_rate)
    batch = BatchShape(1, tokens, audio, TEXT_TOKENS, by_token=beside > 0)
    shape = max((one[0] for one in shown), key=lambda one: one.latent().tokens)  # the largest to decode
    arguments, item_bytes = open_model(shared.model).arguments("video_vae"), ITEM_BYTES[settings.dtype]
    work = VaeWork(arguments, item_bytes, shape, decodes=True, asked=vae_options(shared.memory), copies=True)
    leanest = min(work.estimate(way).needed_bytes for way in work.ways())
    weights = _vae_weights(arguments, "decoder.") * item_bytes
    return SampleWork(batch, AUDIO_BYTES + weights + leanest)


def _vae_weights(arguments: Mapping[str, Any], part: str = "") -> int:
    """Values of the video VAE's weights whose names begin so."""
    shapes = flat(video_vae(arguments))
    return sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(part))


def feature_width(inputs: Inputs) -> int:
    """Of the frames that are embedded; the widest there is until some are."""
    first = next(iter(inputs["embed_frames"]), None) if "embed_frames" in inputs else None
    return WIDEST_FEATURES if first is None else int(first.shape[-1])


def plan_on_gpu(
    settings: TrainSettings,
    work: TrainingStep,
    memory: MemoryConfig,
    free_bytes: int,
    *,
    layers: LayerChoice | None = None,
) -> tuple[TrainSettings, Plan[EngineOptions]]:
    """The settings as they run on a GPU with that much free, or as much less as `memory.gpu_gib` says.

    Raises:
        OutOfMemory: the GPU or the host has no room.
    """
    budget = free_bytes if memory.gpu_gib is None else min(free_bytes, usable_bytes(memory.gpu_gib))
    settings, choice = planned(settings, work, budget, available_bytes() // _num_ranks(memory), layers=layers)
    check_fit(work, choice, budget)
    check_host(settings, work, choice, memory)
    return settings, choice


def check_fit(work: TrainingStep, choice: Plan[EngineOptions], budget_bytes: int) -> Sequence[str]:
    """A warning if what was asked for is close to the limit.

    Raises:
        OutOfMemory: it is far beyond.
    """
    if choice.estimate.peak_bytes > DOUBT * budget_bytes:
        raise OutOfMemory(work.refusal(choice.options, budget_bytes))
    if choice.estimate.needed_bytes <= budget_bytes:
        return ()
    return (f"this may not fit. {advice(work, choice.options)}",)


def check_host(
    settings: TrainSettings, work: TrainingStep, choice: Plan[EngineOptions], memory: MemoryConfig
) -> Sequence[str]:
    """Host memory of offloaded weights, waiting activations and a checkpoint's copy.

    Raises:
        OutOfMemory: more page-locked memory than the machine has left.
    """
    waiting = choice.options.activation_offload * _num_ranks(memory)
    offloaded = choice.estimate.host_bytes * _num_ranks(memory) - waiting
    lines = []
    if offloaded and settings.offload_to == "disk":
        lines.append(f"{offloaded / GIB:.1f} GiB of offloaded weights are in files in the stage's folder")
        offloaded = 0
    parts = {"offloaded weights": offloaded, "activations": waiting, "a checkpoint's copy": work.copied_bytes}
    what, needed = " and ".join(name for name, taken in parts.items() if taken), sum(parts.values())
    available = available_bytes()
    if needed > available:
        raise OutOfMemory(
            f"{what} ({choice.options.offloaded_blocks} blocks offloaded) take {needed / GIB:.1f} GiB of page-locked "
            f"host memory and {available / GIB:.1f} GiB are available; set train_lora.offload_to: disk, "
            f"train_lora.base_precision: int8 or fp8 if it is native, offload fewer blocks, or lower "
            f"activation_offload or rank"
        )
    return [*lines, f"{what} take {needed / GIB:.1f} of {available / GIB:.1f} GiB host memory that are available"]


def buckets_of(rows: Sequence[Any]) -> tuple[Bucket, ...]:
    """Of clips or latents that are trained on, with how often an epoch uses each bucket."""
    occurrences: dict[tuple[str, float, int], int] = {}
    for row in rows:
        if row.split == "train":
            key = (row.bucket, row.frame_rate, _reference_tokens(row))
            occurrences[key] = occurrences.get(key, 0) + row.repeats
    found = sorted(occurrences.items())
    return tuple(bucket_of(name, rate, number, reference) for (name, rate, reference), number in found)


def _reference_tokens(row: Clip | Latent) -> int:
    """Of the reference and the keyframes that a clip has; 0 without."""
    if isinstance(row, Latent):
        reference = math.prod(row.reference_shape[1:]) if row.reference_shape else 0
        reference += row.audio_reference_tokens  # a little too much: they are narrower than a video's
        return reference + (len(row.keyframes) * math.prod(row.video_shape[2:]) if row.keyframes else 0)
    keyframes = len(row.keyframes) * PixelShape(1, row.height, row.width).latent().tokens if row.keyframes else 0
    if row.reference is None:
        return keyframes
    width, height = row.reference_size
    return keyframes + PixelShape(len(row.reference_numbers), height, width).latent().tokens


def known_buckets(shared: Shared, inputs: Inputs) -> tuple[tuple[Bucket, ...], bool]:
    """Those of the clips, as far as a stage has found them, else what the datasets ask for; and whether it is that."""
    for stage in ("encode_latents", "split"):
        if stage in inputs and (found := buckets_of(list(inputs[stage]))):
            return found, False
    return tuple(_expected(dataset) for dataset in shared.datasets), True


def _expected(dataset: DatasetSpec) -> Bucket:
    video = dataset.video
    if dataset.dataset_type == "audio":
        rate = NOMINAL_RATE if video.frame_rate == "native" else video.frame_rate
        return Bucket(PixelShape(video.max_frames or video.frame_counts[0], 0, 0), rate, 2**20)
    width, height = bucket_size(*WIDE, max(dataset.resolutions), dataset.resolution_type, dataset.downscale_factor)
    longest = video.frame_counts[0]
    if video.bucket_strategy == "resolution_frames":
        longest = video.max_frames or longest
    rate = SLOWEST / video.frame_stride if video.frame_rate == "native" else video.frame_rate
    shape, factor = PixelShape(longest, height, width).floored(), dataset.downscale_factor
    beside = len(dataset.keyframes) * shape._replace(frames=1).latent().tokens
    if dataset.reference is not None:
        frames = 1 + (shape.frames - 1) // dataset.reference.frame_factor
        beside += PixelShape(frames, height // factor, width // factor).latent().tokens
    return Bucket(shape, rate, 2**20, beside)


def _peaks(
    settings: TrainSettings, work: TrainingStep, choice: Plan[EngineOptions], buckets: Sequence[Bucket]
) -> list[tuple[str, int]]:
    told = largest_first(settings, buckets)[:BUCKETS_SHOWN]
    steps = ((b.name, replace(work, batch=batch_shape(settings, b))) for b in told)
    return [(name, step.estimate(choice.options).peak_bytes) for name, step in steps]


def _num_ranks(memory: MemoryConfig) -> int:
    """As far as the configuration says."""
    return memory.num_gpus if isinstance(memory.num_gpus, int) else 1


AUDIO_BYTES = 2**29
"""Of the audio VAE and the vocoder in float32, which lie beside the video VAE."""


def vae_options(memory: MemoryConfig, tile: int | None = None, overlap: int = 64) -> VaeOptions:
    """Chunks and slices of `memory`, with the stage's own tiles, which change its results."""
    return VaeOptions(memory.vae_chunk_frames, tile, overlap, memory.vae_slicing)


def decoding_line(shared: Shared, shape: PixelShape, dtype: str, budget_bytes: int) -> str:
    """For people: what decoding renders of this shape takes of that much memory, and how it is cut.

    Raises:
        OutOfMemory: nothing exact fits.
    """
    return _vae_line(shared, shape, dtype, budget_bytes, decodes=True, asked=vae_options(shared.memory))


def encoding_line(
    shared: Shared, shape: PixelShape, dtype: str, budget_bytes: int, options: VaeOptions, batch_size: int | None
) -> str:
    """The same of encoding clips of this shape; `batch_size` at once, None for as many as a GPU is given by itself."""
    batch = batch_size or auto_batch_size(shape, on_gpu=True)
    line = _vae_line(shared, shape, dtype, budget_bytes, decodes=False, batch=batch, asked=options)
    return f"{line}; {batch} at once"


def decoding_bytes(shared: Shared, shape: PixelShape, dtype: str) -> int:
    """Weights and work of the decoders for renders of this shape, cut no more than is asked for."""
    arguments, item_bytes = open_model(shared.model).arguments("video_vae"), ITEM_BYTES[dtype]
    work = VaeWork(arguments, item_bytes, shape, decodes=True, asked=vae_options(shared.memory), copies=True)
    fastest = next(iter(work.ways()))
    return AUDIO_BYTES + item_bytes * _vae_weights(arguments) + work.estimate(fastest).needed_bytes


def _vae_line(shared: Shared, shape: PixelShape, dtype: str, budget_bytes: int, **work: Any) -> str:
    """The plan for a VAE as the header describes it, beside its weights and the audio's."""
    arguments, item_bytes = open_model(shared.model).arguments("video_vae"), ITEM_BYTES[dtype]
    weights = AUDIO_BYTES + item_bytes * _vae_weights(arguments)
    found = plan(VaeWork(arguments, item_bytes, shape, **work), budget_bytes - weights)
    return f"{found.why}; its weights take {weights / GIB:.1f} GiB beside"
