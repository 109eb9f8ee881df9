"""Placement of the transformer's blocks while renders are sampled, and its memory: for `plan` and for the run."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ltx_core.engine.options import EngineOptions
from ltx_core.errors import ConfigError, OutOfMemory
from ltx_core.memory.plan import GIB, Plan, available_bytes, free_bytes, plan, usable_bytes
from ltx_core.memory.transformer import BatchShape, ModelSizes, Sampling, SamplingOptions, model_sizes
from ltx_core.sampling.request import RenderRequest, has_halves
from ltx_core.shapes import PixelShape, ReferenceScale, audio_latent_frames
from ltx_core.training.plan_settings import ITEM_BYTES, TEXT_TOKENS
from tasks.runtime.device import planned_card
from tasks.runtime.shared import Shared
from tasks.runtime.stage import Inputs, StageRun
from tasks.runtime.weights import open_model
from tasks.stages.parts.memory import decoding_bytes, decoding_line
from tasks.stages.render.adapters import adapter_bytes, upsampler_bytes
from tasks.stages.render.config import RenderValidationConfig, in_numbers
from tasks.stages.render.jobs import expected_shapes, takes_clips

if TYPE_CHECKING:
    from tasks.stages.render.jobs import RenderJob


LORA_BYTES = GIB // 2
"""Of a LoRA that is not trained yet: rank 32 on all attention projections takes 0.4 GiB in bf16."""
COMPILE_SECONDS = 13.0
"""For a block's forward of one form, where PyTorch's cache in the workspace does not have it; with it, three to four.
Measured on an H200 with 16 cores on 2026-11-30, as the next."""
SAVED_SECONDS = 0.25 / 6240
"""For a video token and a pass, in bf16: one of 121x480x832 took 0.55 s uncompiled, and takes 0.3 s compiled, where two
are one forward. Slower GPUs save more."""
BESIDE_BYTES = 16 * GIB
"""For spare processes: each has a context of CUDA, the connectors, and one block with its activations."""
OFFLOAD = "offload"
"""In the stage's folder: files of blocks that are offloaded from disk."""


def render_memory_lines(config: RenderValidationConfig, shared: Shared, inputs: Inputs) -> Sequence[str]:
    """For people: the predicted peaks of both phases on the card that is planned for.

    Raises:
        OutOfMemory: a phase cannot fit.
    """
    gpu_gib, prompts, clips = planned_card(shared.memory), shared.prompts, takes_clips(config)
    files = (prompts.images, prompts.audio, prompts.videos, prompts.references, prompts.composed)
    if gpu_gib is None or not (clips or any((prompts.validation, prompts.library, *files))):
        return ()
    shapes = expected_shapes(config, shared, inputs)
    item_bytes = ITEM_BYTES[config.dtype]
    in_one = config.upscaling is None or any(not has_halves(shape.width, shape.height) for shape, _ in shapes)
    scale = _reference_scale(config, shared)
    of_clips = (config.image_to_video_clips, config.extend_clips, config.inpaint_clips, config.composed)
    conditioned = (*of_clips, prompts.images, prompts.composed, scale)
    batches = [
        _batch(shape, rate, by_token=any(conditioned), reference=_tokens(shape, scale)) for shape, rate in shapes
    ]
    sampling = Sampling(
        _sizes(shared),
        max(batches, key=lambda batch: batch.video_tokens),
        item_bytes,
        LORA_BYTES
        + max((adapter_bytes(run.adapters) for run in config.adapters), default=0)
        + (adapter_bytes(config.upscaling.adapters) if config.upscaling else 0)
        + upsampler_bytes(config, item_bytes),
        has_pairs=in_one and _has_pairs(config, shared),
    )
    choice = _chosen(config, sampling, usable_bytes(gpu_gib))
    largest = max((shape for shape, _ in shapes), key=lambda shape: shape.frames * shape.height * shape.width)
    decoding = decoding_line(shared, largest, config.dtype, usable_bytes(gpu_gib))
    return (f"{gpu_gib:g} GiB card: {choice.why}", decoding, *_check_host(config, choice))


def one_stage_clips(config: RenderValidationConfig, shared: Shared, inputs: Inputs) -> Iterator[str]:
    """A warning if two-stage renders are asked for and clips are rendered whose halves the VAE does not take."""
    if config.upscaling is not None:
        shapes = {(shape.width, shape.height) for shape, _ in expected_shapes(config, shared, inputs)}
        if odd := [f"{width}x{height}" for width, height in sorted(shapes) if not has_halves(width, height)]:
            yield (
                f"held-out clips of {', '.join(odd)} are rendered in one stage, without render_validation.upscaling: "
                f"their edges are no multiples of 64"
            )


def sampling_options(
    jobs: "Sequence[RenderJob]", run: StageRun[RenderValidationConfig], device: str
) -> SamplingOptions:
    """The place and the policy of blocks for these renders: as the configuration says, and for `auto` by what is free.

    Raises:
        OutOfMemory: the GPU or the host has no room.
    """
    config: RenderValidationConfig = run.config
    folder, sizes = run.out / OFFLOAD, _sizes(run.shared)
    has_pairs = any(job.guided for job in jobs)
    if not device.startswith("cuda"):
        on_disk = folder if config.offload_to == "disk" else None
        return SamplingOptions(_asked(config, sizes.num_blocks).replaced(offload_folder=on_disk), has_pairs)
    import torch

    free, limit = free_bytes(torch.device(device)), run.shared.memory.gpu_gib
    budget = free if limit is None else min(free, usable_bytes(limit))
    work = _work(jobs, run)
    choice = _chosen(config, work, budget)
    if has_pairs and not work.has_pairs:  # two passes of a quarter of the tokens take less than one of all of them
        choice = replace(choice, options=replace(choice.options, together=True))
    for line in (choice.why, *_check_host(config, choice)):
        run.progress.note(f"memory plan: {line}")
    compiled, why = compiling_pays(jobs)
    run.progress.note(why)
    engine = choice.options.engine.replaced(
        fused=compiled, compiled=compiled, offload_folder=folder if _is_on_disk(config, choice) else None
    )
    return replace(choice.options, engine=engine)


def resident_engine(config: RenderValidationConfig) -> EngineOptions:
    """The policy of compiled blocks that are all on the GPU."""
    asked = EngineOptions(precision=config.base_precision, products="none", forward_only=True)
    return asked.replaced(fused=True, compiled=True)


def has_room_beside(jobs: "Sequence[RenderJob]", run: StageRun[RenderValidationConfig], *, together: bool) -> bool:
    """True if spare processes have memory of the GPU to compile in, beside the transformer that will be loaded."""
    import torch

    needed = _work(jobs, run).estimate(SamplingOptions(resident_engine(run.config), together)).needed_bytes
    return needed + BESIDE_BYTES <= free_bytes(torch.device("cuda"))


def decoders_fit(
    jobs: "Sequence[RenderJob]", run: StageRun[RenderValidationConfig], options: SamplingOptions, device: str
) -> bool:
    """True if, with the transformer loaded, the decoders fit beside a forward of these renders: then each render is
    decoded as soon as it is sampled, and its file is written while the next one is sampled."""
    import torch

    work = _work(jobs, run)
    estimate = work.estimate(replace(options, together=options.together and work.has_pairs))
    shapes = (_shape(job.request)[0] for job in jobs)
    largest = max(shapes, key=lambda shape: shape.frames * shape.height * shape.width)
    decoding = decoding_bytes(run.shared, largest, run.config.dtype)
    free, limit = free_bytes(torch.device(device)), run.shared.memory.gpu_gib
    weights = estimate.terms["frozen weights"]
    if limit is not None and device.startswith("cuda"):
        free = min(free, usable_bytes(limit) - weights)
    fits = estimate.needed_bytes - weights + decoding <= free
    when = "as soon as it is sampled" if fits else "after all are sampled"
    run.progress.note(
        f"memory plan: each render is decoded {when}; the decoders take up to {decoding / GIB:.1f} GiB beside the "
        f"transformer, and {free / GIB:.1f} GiB are free"
    )
    return fits


def _work(jobs: "Sequence[RenderJob]", run: StageRun[RenderValidationConfig]) -> Sampling:
    """The largest forward of these renders."""
    batches = (
        _batch(*_shape(job.request), by_token=_is_by_token(job.request), reference=job.reference_tokens) for job in jobs
    )
    halves = {job.first.key for job in jobs if job.first}
    return Sampling(
        _sizes(run.shared),
        max(batches, key=lambda batch: (batch.by_token, batch.video_tokens)),
        ITEM_BYTES[run.config.dtype],
        max(sum(adapter.path.stat().st_size for adapter in job.stack) for job in jobs)
        + upsampler_bytes(run.config, ITEM_BYTES[run.config.dtype]),
        has_pairs=any(job.guided and job.key not in halves for job in jobs),
    )


def compiling_pays(jobs: "Sequence[RenderJob]") -> tuple[bool, str]:
    """Return whether these renders save more time in compiled blocks than compiling takes at most, and that in words.

    A function is compiled for each set of adapters and each form of batch; the perturbed and the isolated pass stay
    uncompiled.
    """
    forms, passes, saved = set(), 0, 0.0
    for job in jobs:
        request = job.request
        forms.add((job.stack, _shape(request), _is_by_token(request), job.guided, job.reference_tokens))
        own = job.steps * (2 if job.guided else 1)
        passes, saved = passes + own, saved + own * request.grid.tokens * SAVED_SECONDS
    cost = COMPILE_SECONDS * len(forms)
    done = "compiled" if saved > cost else "not compiled"
    return saved > cost, (
        f"the transformer's blocks are {done}: that saves about {saved:.0f} s in {passes} passes, and takes about "
        f"{cost:.0f} s for {len(forms)} form{'s' if len(forms) > 1 else ''} of batch, once in this workspace"
    )


def _is_by_token(request: RenderRequest) -> bool:
    """True if some video tokens are conditioning and others are not."""
    return request.mode not in ("t2v", "s2v", "v2a")


def _has_pairs(config: RenderValidationConfig, shared: Shared) -> bool:
    runs = (in_numbers(one, shared.model) for one in (config, *(run.over(config) for run in config.adapters)))
    return any("unconditional" in sampling.streams().passes() for sampling in runs)


def _chosen(config: RenderValidationConfig, sampling: Sampling, budget_bytes: int) -> Plan[SamplingOptions]:
    asked, chooses = _asked(config, sampling.sizes.num_blocks), config.offloaded_blocks == "auto"
    both = sampling.estimate(SamplingOptions(asked, together=True)).fits(budget_bytes)
    pairs = sampling.has_pairs and (chooses or both)
    return plan(replace(sampling, asked=asked, chooses=chooses, has_pairs=pairs), budget_bytes)


def _asked(config: RenderValidationConfig, num_blocks: int) -> EngineOptions:
    """Return the options that the configuration sets, with `auto` as none.

    Raises:
        ConfigError: more blocks than there are.
    """
    asked = {"auto": 0, "all": num_blocks}.get(str(config.offloaded_blocks), config.offloaded_blocks)
    if int(asked) > num_blocks:
        raise ConfigError(f"render_validation.offloaded_blocks is {asked}; the model has {num_blocks} blocks")
    return EngineOptions(
        precision=config.base_precision, products="none", offloaded_blocks=int(asked), forward_only=True
    )


def _is_on_disk(config: RenderValidationConfig, choice: Plan[SamplingOptions]) -> bool:
    if config.offload_to == "auto":
        return choice.estimate.host_bytes > available_bytes()
    return config.offload_to == "disk"


def _check_host(config: RenderValidationConfig, choice: Plan[SamplingOptions]) -> Sequence[str]:
    """Host memory of offloaded weights.

    Raises:
        OutOfMemory: more page-locked memory than the machine has left, where that is asked for.
    """
    needed, available = choice.estimate.host_bytes, available_bytes()
    if not needed:
        return ()
    if _is_on_disk(config, choice):
        halve = "; render_validation.base_precision: int8 halves them" if config.base_precision == "native" else ""
        return (
            f"{needed / GIB:.1f} GiB of offloaded weights are in files in the stage's folder and are read for every "
            f"step, which is slow; {available / GIB:.1f} GiB host memory are available{halve}",
        )
    if needed > available:
        raise OutOfMemory(
            f"{choice.options.engine.offloaded_blocks} offloaded blocks take {needed / GIB:.1f} GiB of page-locked "
            f"host memory and {available / GIB:.1f} GiB are available; set render_validation.offload_to: auto or disk, "
            f"or render_validation.base_precision: int8 if it is native"
        )
    return (f"offloaded weights take {needed / GIB:.1f} of {available / GIB:.1f} GiB host memory that are available",)


def _sizes(shared: Shared) -> ModelSizes:
    return model_sizes(open_model(shared.model).shapes("transformer"))


def _batch(shape: PixelShape, frame_rate: float, *, by_token: bool, reference: int) -> BatchShape:
    """`reference`: tokens beside those of the video."""
    audio, video = audio_latent_frames(shape.frames / frame_rate), shape.latent().tokens
    return BatchShape(1, video + reference, audio, TEXT_TOKENS, by_token=by_token)


def _tokens(shape: PixelShape, scale: ReferenceScale | None) -> int:
    return 0 if scale is None else scale.of(shape.latent()).tokens


def _reference_scale(config: RenderValidationConfig, shared: Shared) -> ReferenceScale | None:
    """By how much references are smaller in what will be rendered, as far as the configuration says; None: there are
    none."""
    kinds = {one.kind for entry in config.composed for one in entry.conditions}
    kinds |= {one.kind for entry in shared.prompts.composed for one in entry.conditions}
    if not (config.reference_clips or shared.prompts.references or "reference" in kinds):
        return None
    specs = [dataset.reference for dataset in shared.datasets if dataset.reference is not None]
    scales = [ReferenceScale(spec.downscale_factor, spec.frame_factor) for spec in specs]
    return max(scales, default=ReferenceScale())


def _shape(request: RenderRequest) -> tuple[PixelShape, float]:
    return PixelShape(request.num_frames, request.height, request.width), request.frame_rate
