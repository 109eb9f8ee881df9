"""First phase of rendering: the transformer turns prompts into latents. Needs torch when imported."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch

from ltx_core.checkpoint.load import load_connectors
from ltx_core.conditioning.text import Text
from ltx_core.engine.load import load_denoiser
from ltx_core.files.vouched import is_vouched, vouch
from ltx_core.lora.stack import stacked
from ltx_core.pool.source import PoolSource
from ltx_core.progress import Silent, stop_if_asked
from ltx_core.sampling.latents import save_latents
from ltx_core.sampling.sampler import sample
from ltx_core.sampling.walk import Prompts
from ltx_core.text.contexts import text_contexts
from tasks.device import prepare_device, torch_dtype
from tasks.quantised import quantised_folder
from tasks.render_conditions import conditionings, encode_files
from tasks.render_jobs import RenderJob
from tasks.render_memory import sampling_options
from tasks.render_release import picture_crf
from tasks.stage_run import StageRun
from tasks.weights import open_weights


def sample_missing(jobs: Sequence[RenderJob], run: StageRun, *, done: int) -> int:
    """Sample every job whose latents the pool lacks, and say how many; the GPU is free again at return."""
    todo = [job for job in jobs if run.force or not is_vouched(job.latents)]
    if not todo:
        return 0
    device = prepare_device(run.shared.memory)
    dtype = torch_dtype(run.config.dtype)
    checkpoint = open_weights(run.shared.model).checkpoint
    source = PoolSource(run.inputs["encode_latents"], run.inputs["embed_text"], run.workspace.root)
    prompts = _prompts(todo, run, source, load_connectors(checkpoint, device=device, dtype=dtype), device)
    crf = picture_crf(run.config, run.shared)
    encoded = encode_files(todo, checkpoint, crf=crf, device=device, dtype=dtype)
    total, finished = done + len(jobs), done + len(jobs) - len(todo)
    options = sampling_options(todo, run, device)
    cache = quantised_folder(run, options, dtype)
    transformer = load_denoiser(checkpoint, options, device=device, dtype=dtype, cache=cache)
    run.memo.check()
    for stack, group in groupby(sorted(todo, key=_by_weights), key=lambda job: job.stack):
        with stacked(transformer, stack):
            run.memo.check(*(adapter.path for adapter in stack))
            for job in group:
                stop_if_asked(run.progress, "rendering")
                chosen = prompts[job.request.prompt] if job.request.needs_negative else _alone(prompts, job)
                given = conditionings(job, source, encoded, run)
                made = sample(transformer, chosen, job.request, _Stoppable(run), conditionings=given)
                save_latents(job.latents, made)
                vouch(job.latents)
                finished += 1
                run.progress.advance(finished, total, "renders")
    return len(todo)


def _by_weights(job: RenderJob) -> tuple[list[tuple[str, float]], str]:
    """Jobs of one set of adapters together, so that each set is loaded once; the base model first."""
    return [(adapter.digest, adapter.strength) for adapter in job.stack], job.key


class _Stoppable(Silent):
    """Steps are too many to report; only the wish to stop is passed on."""

    def __init__(self, run: StageRun) -> None:
        self._run = run

    @property
    def stopping(self) -> bool:  # type: ignore[override]  # Silent never stops; this one asks
        return self._run.progress.stopping


def _alone(prompts: dict[str, Prompts], job: RenderJob) -> Prompts:
    return Prompts(prompts[job.request.prompt].positive)


@torch.no_grad()
def _prompts(
    jobs: Sequence[RenderJob], run: StageRun, source: PoolSource, connectors: Any, device: str
) -> dict[str, Prompts]:
    """Contexts of each prompt, with those of the negative prompt."""

    def contexts(text: str) -> Text:
        features = {name: tensor.to(device) for name, tensor in source.text(text).items()}
        return Text(*text_contexts(connectors, [features]))

    negative = contexts(run.shared.prompts.negative)
    return {text: Prompts(contexts(text), negative) for text in {job.request.prompt for job in jobs}}
