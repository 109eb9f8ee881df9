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
from tasks.stage import Work

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


def plan_jobs(work: Work, checkpoint: Checkpoint, weights: Mapping[str, str]) -> list[RenderJob]:
    """Every request in every run, by the base model (if wanted) and by the LoRA.

    Raises:
        ConfigError: two renders would be the same.
    """
    lora = Adapter(work.workspace.root / checkpoint.file, checkpoint.sha256)
    jobs = []
    for run in render_runs(work.config, work.shared.model, work.memo):
        for request, given in _requests(work, run.sampling):
            for variant, stack in _variants(run, lora):
                jobs.append(_job(work, weights, run.name, variant, request, given=given, stack=stack))
    _check_distinct(jobs)
    return jobs


def _variants(run: RenderRun, lora: Adapter) -> Iterator[tuple[Variant, tuple[Adapter, ...]]]:
    if run.base:
        yield "base", run.adapters
    if run.lora:
        yield "candidate", (*run.adapters, lora)


def _job(
    work: Work,
    weights: Mapping[str, str],
    run: str,
    variant: Variant,
    request: RenderRequest,
    *,
    given: Given | None,
    stack: tuple[Adapter, ...],
) -> RenderJob:
    identity = request.key(weights, [(adapter.digest, adapter.strength) for adapter in stack])
    precision = work.config.base_precision
    how = () if precision == "native" else (precision,)
    key = text_digest(identity, work.config.dtype, work.version, *how)
    pool = work.workspace.pool / "renders"
    return RenderJob(key, variant, run, request, given, stack, pool / f"{key}.safetensors", pool / f"{key}.mp4")


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


def _requests(work: Work, sampling: SamplingConfig) -> Iterator[tuple[RenderRequest, Given | None]]:
    """Text to video for every prompt, then what starts from files of one's own, then from held-out clips."""
    config = work.config
    size = {name: getattr(config, name) for name in SIZES} | {"num_frames": floor_frames(config.num_frames)}
    clips = list(given_clips(work))
    files = list(given_files(config, work.shared, work.memo))
    for number, seed in enumerate(config.seeds):
        for prompt in work.shared.prompts.validation:
            yield _request(work, sampling, prompt, seed, size), None
        for given, entry in files:
            if entry.seed is None or number == 0:
                own = seed if entry.seed is None else entry.seed
                yield _request(work, sampling, entry.prompt, own, size, given=given), given
        for given, clip in clips:
            shape = {name: getattr(clip, name) for name in SIZES}
            yield _request(work, sampling, clip.caption, seed, shape, given=given), given


def _request(
    work: Work,
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
        negative_prompt=work.shared.prompts.negative,
        seed=seed,
        mode=mode,
        conditioning_key=given.key if given else None,
        num_steps=sampling.num_steps,
        schedule=sampling.schedule,
        guidance=sampling.streams(),
        **shape,
    )
