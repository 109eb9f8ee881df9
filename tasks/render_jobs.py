"""Which renders a run wants, and where each lies in the pool. No torch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datasets_spec import Checkpoint
from ltx_core.errors import ConfigError
from ltx_core.files.digest import text_digest
from ltx_core.lora.adapter import Adapter
from ltx_core.sampling.request import Mode, RenderRequest
from ltx_core.shapes import floor_frames
from tasks.render_adapters import RenderRun, render_runs
from tasks.render_given import Given, given_clips, given_files
from tasks.sampling_config import SamplingConfig
from tasks.stage_run import StageRun

Variant = Literal["base", "candidate"]
SIZES = ("width", "height", "num_frames", "frame_rate")


@dataclass(frozen=True)
class RenderJob:
    """One render: what is asked, of which weights, and its files in the pool."""

    key: str
    variant: Variant
    run: str
    """Name of the adapters' run; empty without adapters."""
    request: RenderRequest
    given: Given | None
    stack: tuple[Adapter, ...]
    """What is put on the base model: the adapters of the run, and last the trained LoRA."""
    latents: Path
    video: Path

    @property
    def same_request(self) -> tuple[str, RenderRequest]:
        """Equal for the base's and the candidate's render of one request in one run."""
        return self.run, self.request


def plan_jobs(run: StageRun, checkpoint: Checkpoint, weights: Mapping[str, str]) -> list[RenderJob]:
    """Every request in every run, by the base model (if wanted) and by the LoRA.

    Raises:
        ConfigError: two renders would be the same.
    """
    lora = Adapter(run.workspace.root / checkpoint.file, checkpoint.sha256)
    jobs = []
    for setup in render_runs(run.config, run.shared.model, run.memo):
        for request, given in _requests(run, setup.sampling):
            for variant, stack in _variants(setup, lora):
                jobs.append(_job(run, weights, setup.name, variant, request, given=given, stack=stack))
    _check_distinct(jobs)
    return jobs


def _variants(setup: RenderRun, lora: Adapter) -> Iterator[tuple[Variant, tuple[Adapter, ...]]]:
    if setup.base:
        yield "base", setup.adapters
    if setup.lora:
        yield "candidate", (*setup.adapters, lora)


def _job(
    run: StageRun,
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


def _requests(run: StageRun, sampling: SamplingConfig) -> Iterator[tuple[RenderRequest, Given | None]]:
    """Text to video for every prompt, then what starts from files of one's own, then from held-out clips."""
    config = run.config
    size = {name: getattr(config, name) for name in SIZES} | {"num_frames": floor_frames(config.num_frames)}
    clips = list(given_clips(run))
    files = list(given_files(config, run.shared, run.memo))
    for number, seed in enumerate(config.seeds):
        for prompt in run.shared.prompts.validation:
            yield _request(run, sampling, prompt, seed, size), None
        for given, entry in files:
            if entry.seed is None or number == 0:
                own = seed if entry.seed is None else entry.seed
                yield _request(run, sampling, entry.prompt, own, size, given=given), given
        for given, clip in clips:
            shape = {name: getattr(clip, name) for name in SIZES}
            yield _request(run, sampling, clip.caption, seed, shape, given=given), given


def _request(
    run: StageRun,
    sampling: SamplingConfig,
    prompt: str,
    seed: int,
    shape: Mapping[str, Any],
    *,
    given: Given | None = None,
) -> RenderRequest:
    mode: Mode = given.mode if given else "t2v"
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
