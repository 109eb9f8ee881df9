"""The renders of a run: its checkpoint and adapters, the requests, and the clips and files that renders start from.

No torch, and PyAV only to look at files.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from datasets_spec import Checkpoint, Clip, Manifest
from ltx_core.adapters.lora_layout import Adapter
from ltx_core.adapters.reference_header import common_scale
from ltx_core.errors import ConfigError
from ltx_core.io.digest import DigestMemo, text_digest
from ltx_core.sampling.request import Mode, RenderRequest, Upscaling, has_halves
from ltx_core.shapes import SAME_SIZE, SPACE_STRIDE, TIME_STRIDE, PixelShape, floor_frames
from tasks.runtime.shared import ModelConfig, Shared
from tasks.runtime.stage import Inputs, StageRun
from tasks.stages.parts.memory import known_buckets
from tasks.stages.render.adapters import asked_upscaling, located
from tasks.stages.render.config import RenderValidationConfig, SamplingConfig, in_numbers
from tasks.stages.render.given import Given, given_clips, given_files


def final_checkpoint(manifest: Manifest[Checkpoint]) -> Checkpoint:
    """The one after the last step, which every finished run has."""
    return next(row for row in manifest if row.name == "final")


def best_checkpoint(manifest: Manifest[Checkpoint]) -> Checkpoint:
    """The kept one of lowest eval loss, the earliest of equals; the final one where none was measured."""
    final = final_checkpoint(manifest)
    measured = [row for row in manifest if row.eval_loss is not None]
    return min(measured, key=lambda row: (row.eval_loss, row.step, row.name != "final"), default=final)


@dataclass(frozen=True)
class RenderRun:
    """Everything is rendered once in each run."""

    name: str
    """Empty for the run without adapters."""
    sampling: SamplingConfig
    adapters: tuple[Adapter, ...]
    base: bool
    """True if the base model is rendered too."""
    lora: bool
    """True if the trained LoRA is rendered."""


def render_runs(config: RenderValidationConfig, model: ModelConfig, memo: DigestMemo) -> list[RenderRun]:
    """Every run, its adapters found and known by content, its guidance in numbers; `prepare_adapters` has downloaded
    them.

    Raises:
        CheckpointError: an adapter is gone.
    """
    own = in_numbers(config, model)
    runs = [RenderRun("", own, (), base=config.render_base, lora=True)] if config.render_without_adapters else []
    for run in config.adapters:
        adapters = tuple(located(adapter, memo) for adapter in run.adapters)
        sampling = in_numbers(run.over(config), model)
        runs.append(RenderRun(run.name, sampling, adapters, base=run.base, lora=run.lora))
    memo.save()
    return runs


def expected_shapes(config: RenderValidationConfig, shared: Shared, inputs: Inputs) -> list[tuple[PixelShape, float]]:
    """Sizes and frame rates of renders: the configured one, and those of clips where clips are rendered."""
    found = [(PixelShape(floor_frames(config.num_frames), config.height, config.width), config.frame_rate)]
    if takes_clips(config):
        found += [(bucket.shape.floored(), bucket.frame_rate) for bucket in known_buckets(shared, inputs)[0]]
    return found


def takes_clips(config: RenderValidationConfig) -> bool:
    """True if held-out clips are rendered too."""
    counts = (config.image_to_video_clips, config.audio_to_video_clips, config.extend_clips, config.inpaint_clips)
    return any((*counts, config.video_to_audio_clips, config.reference_clips, config.composed))


Variant = Literal["base", "candidate"]
SIZES = ("width", "height", "num_frames", "frame_rate")


@dataclass(frozen=True)
class RenderJob:
    """One render: what is asked, of which weights, and its files in the store."""

    key: str
    variant: Variant
    run: str
    """Name of the adapters' run; empty without adapters."""
    request: RenderRequest
    conditioning: Given | None
    stack: tuple[Adapter, ...]
    """Return the adapters that are added to the base model: those of the run, and last the trained LoRA."""
    latents: Path
    video: Path
    first: "RenderJob | None" = None
    """The render at half the size that this one is upscaled from; None: it is sampled at once."""

    @property
    def given(self) -> Given | None:
        """The conditioning that the sampler is given beside the text: a reference in the first half alone."""
        given = self.conditioning
        if given is None or self.first is None or not given.follows:
            return given
        kept = tuple(condition for condition in given.conditions if condition.kind != "reference")
        parts = tuple(part for part in given.parts if not part.has("reference"))
        return replace(given, conditions=kept, parts=parts) if kept else None

    @property
    def reference_tokens(self) -> int:
        """Of the reference and the keyframes that the sampler is given; 0 without."""
        if self.given is None:
            return 0
        grid = self.request.grid
        reference = self.given.control.scale.of(grid).tokens if self.given.follows else 0
        clip = self.given.clip
        frames = len(clip.keyframes) if clip is not None and self.given.has("keyframe") else 0
        frames += sum(part.has("keyframe") for part in self.given.parts)
        return reference + frames * grid.height * grid.width

    @property
    def guided(self) -> bool:
        """True if there is an unconditional pass; the second half of a two-stage render has none."""
        return self.first is None and self.request.needs_negative

    @property
    def steps(self) -> int:
        """Steps at this job's size."""
        upscaling = self.request.upscaling
        return self.request.num_steps if upscaling is None else len(upscaling.sigmas) - 1

    @property
    def same_request(self) -> tuple[str, RenderRequest]:
        """Equal for the base's and the candidate's render of one request in one run."""
        return self.run, self.request


def by_weights(job: RenderJob) -> tuple[list[tuple[str, float]], str]:
    """Jobs of one set of adapters together, so that each set is loaded once; the base model first."""
    return [(adapter.digest, adapter.strength) for adapter in job.stack], job.key


def plan_jobs(
    run: StageRun[RenderValidationConfig], checkpoint: Checkpoint, weights: Mapping[str, str]
) -> list[RenderJob]:
    """Every request in every run, by the base model (if wanted) and by the LoRA.

    Raises:
        ConfigError: two renders would be the same.
    """
    lora = Adapter(run.workspace.root / checkpoint.file, checkpoint.sha256)
    jobs, upscaling = [], asked_upscaling(run.config, run.memo)
    more = () if run.config.upscaling is None else run.config.upscaling.adapters
    added = tuple(located(adapter, run.memo) for adapter in more)
    for setup in render_runs(run.config, run.shared.model, run.memo):
        used = (*setup.adapters, lora) if setup.lora else setup.adapters
        for request, given in _requests(run, setup.sampling, used, upscaling):
            for variant, stack in _variants(setup, lora):
                job = _job(run, weights, setup.name, variant, request, given=given, stack=stack)
                jobs.append(job if request.upscaling is None else _in_two(run, weights, job, added))
    _check_distinct(jobs)
    return jobs


def _variants(setup: RenderRun, lora: Adapter) -> Iterator[tuple[Variant, tuple[Adapter, ...]]]:
    if setup.base:
        yield "base", setup.adapters
    if setup.lora:
        yield "candidate", (*setup.adapters, lora)


def _job(
    run: StageRun[RenderValidationConfig],
    weights: Mapping[str, str],
    setup: str,
    variant: Variant,
    request: RenderRequest,
    *,
    given: Given | None,
    stack: tuple[Adapter, ...],
) -> RenderJob:
    identity = request.key(weights, [(adapter.digest, adapter.strength) for adapter in stack])
    precision = run.config.base_precision
    how = () if precision == "native" else (precision,)
    key = text_digest(identity, run.config.dtype, run.version, *how)
    pool = run.workspace.pool / "renders"
    return RenderJob(key, variant, setup, request, given, stack, pool / f"{key}.safetensors", pool / f"{key}.mp4")


def _in_two(
    run: StageRun[RenderValidationConfig], weights: Mapping[str, str], job: RenderJob, added: Sequence[Adapter]
) -> RenderJob:
    """The job with its first half, and with the adapters of its second half: those of the first one, and these.

    Of a render that follows a reference, the second half has neither the reference nor the adapters that know what to
    do with it, as in Lightricks' pipeline of IC-LoRAs.
    """
    first = _job(run, weights, job.run, job.variant, job.request.halved(), given=job.conditioning, stack=job.stack)
    kept = () if job.conditioning is not None and job.conditioning.follows else job.stack
    return replace(job, first=first, stack=(*kept, *added))


def _check_distinct(jobs: Sequence[RenderJob]) -> None:
    seen: dict[str, RenderJob] = {}
    for job in jobs:
        other = seen.setdefault(job.key, job)
        if other is not job:
            where = " and ".join(repr(one.run) if one.run else "the run without adapters" for one in (other, job))
            raise ConfigError(
                f"{where} ask for the same render twice: {job.request.mode} of {job.request.prompt[:40]!r} with seed "
                f"{job.request.seed}; remove one of the runs, prompts, files or seeds"
            )


def _requests(
    run: StageRun[RenderValidationConfig],
    sampling: SamplingConfig,
    adapters: Sequence[Adapter],
    upscaling: Upscaling | None,
) -> Iterator[tuple[RenderRequest, Given | None]]:
    """Text to video for every prompt, then what starts from files of one's own, then from held-out clips."""
    config = run.config
    more = {"upscaling": upscaling}
    size = {name: getattr(config, name) for name in SIZES} | {"num_frames": floor_frames(config.num_frames)} | more
    clips = [(_of_size(given, adapters, clip), clip) for given, clip in given_clips(run)]
    parts = 1 if upscaling is None else 2  # references are followed at the size that is sampled first
    shown = PixelShape(size["num_frames"], config.height // parts, config.width // parts)
    files = [(_of_size(given, adapters, shown), entry) for given, entry in given_files(config, run.shared, run.memo)]
    for number, seed in enumerate(config.seeds):
        for prompt in run.shared.prompts.validation:
            request = _request(run, sampling, prompt, seed, size)
            yield request.of_audio() if config.audio_only else request, None
        for given, entry in files:
            if entry.seed is None or number == 0:
                own = seed if entry.seed is None else entry.seed
                yield _request(run, sampling, entry.prompt, own, size, given=given), given
        for given, clip in clips:
            shape = {name: getattr(clip, name) for name in SIZES}
            shape |= more if has_halves(clip.width, clip.height) else {}
            yield _request(run, sampling, clip.caption, seed, shape, given=given), given


def _of_size(one: Given, adapters: Sequence[Adapter], render: PixelShape | Clip) -> Given:
    """The same conditioning, a reference at the size that the adapters want.

    Raises:
        CheckpointError: as for `common_scale`.
        ConfigError: they want another size than a clip's reference has, or one that the VAE does not take.
    """
    if not one.follows:
        return one
    if one.parts:
        parts = tuple(_of_size(part, adapters, render) for part in one.parts)
        return replace(one, parts=parts, key=text_digest(*(part.key for part in parts)))
    wanted = common_scale(adapter.path for adapter in adapters)
    if one.clip is not None:
        if wanted not in (None, one.scale):
            raise ConfigError(
                f"the reference of {one.clip.clip_id} is smaller by {one.scale.space} in space and {one.scale.time} in "
                f"time, and the LoRAs want {wanted.space} and {wanted.time}; set reference.downscale_factor and "
                f"frame_factor to that, or render no clips that follow their reference"
            )
        return one
    wanted = wanted or SAME_SIZE
    factor = wanted.space
    if (render_frames(render) - 1) % (TIME_STRIDE * wanted.time):
        raise ConfigError(
            f"renders of {render_frames(render)} frames cannot follow {one.file}, because the LoRA wants control "
            f"videos with fewer frames by {wanted.time}; set render_validation.num_frames to "
            f"{TIME_STRIDE * wanted.time}k+1"
        )
    if render.width % (SPACE_STRIDE * factor) or render.height % (SPACE_STRIDE * factor):
        raise ConfigError(
            f"renders of {render.width}x{render.height} cannot follow {one.file}, because the LoRA wants control "
            f"videos that are smaller by {factor}; set render_validation.width and height to multiples of "
            f"{SPACE_STRIDE * factor}"
        )
    in_time = (f"every {wanted.time}",) if wanted.time > 1 else ()
    return replace(one, key=text_digest(one.key, f"1/{factor}", *in_time), scale=wanted)


def render_frames(render: PixelShape | Clip) -> int:
    """Frames of a render, or of a clip."""
    return render.num_frames if isinstance(render, Clip) else render.frames


def _request(
    run: StageRun[RenderValidationConfig],
    sampling: SamplingConfig,
    prompt: str,
    seed: int,
    shape: Mapping[str, Any],
    *,
    given: Given | None = None,
) -> RenderRequest:
    mode: Mode = given.mode if given else "t2v"
    if mode == "v2a":  # the video is there already, at full size
        shape = {**shape, "upscaling": None}
    return RenderRequest(
        prompt=prompt,
        negative_prompt=run.shared.prompts.negative,
        seed=seed,
        mode=mode,
        conditioning_key=given.key if given else None,
        num_steps=sampling.num_steps,
        schedule=sampling.schedule,
        guidance=sampling.streams(),
        **shape,
    )
