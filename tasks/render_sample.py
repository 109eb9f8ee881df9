"""First phase of rendering: the transformer turns prompts into latents. Needs torch when imported."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch

from ltx_core.checkpoint.load import load_connectors, load_transformer
from ltx_core.conditioning.first_frame import FirstFrame
from ltx_core.conditioning.kinds import Conditioning
from ltx_core.conditioning.sound import Sound
from ltx_core.conditioning.text import Text
from ltx_core.lora.files import load_lora
from ltx_core.pool.source import PoolSource
from ltx_core.progress import Silent, stop_if_asked
from ltx_core.sampling.latents import save_latents
from ltx_core.sampling.sampler import sample
from ltx_core.sampling.walk import Prompts
from ltx_core.text.contexts import text_contexts
from tasks.device import prepare_device, torch_dtype
from tasks.render_jobs import RenderJob
from tasks.stage import Work
from tasks.weights import open_weights


def sample_missing(jobs: Sequence[RenderJob], work: Work, *, done: int) -> int:
    """Sample every job whose latents the pool lacks, and say how many; the GPU is free again at return."""
    todo = [job for job in jobs if work.force or not job.latents.exists()]
    if not todo:
        return 0
    device = prepare_device(work.shared.memory)
    dtype = torch_dtype(work.config.dtype)
    checkpoint = open_weights(work.shared.model).checkpoint
    source = PoolSource(work.inputs["encode_latents"], work.inputs["embed_text"], work.workspace.root)
    prompts = _prompts(todo, work, source, load_connectors(checkpoint, device=device, dtype=dtype), device)
    total, finished = done + len(jobs), done + len(jobs) - len(todo)
    by_weights = sorted(todo, key=lambda job: (job.lora is not None, job.key))
    transformer = load_transformer(checkpoint, device=device, dtype=dtype)
    for lora, group in groupby(by_weights, key=lambda job: job.lora):
        if lora is not None:  # LoRAs come last, so nothing needs to be taken off
            load_lora(lora, transformer)
        for job in group:
            stop_if_asked(work.progress, "rendering")
            chosen = prompts[job.request.prompt] if job.request.needs_negative else _alone(prompts, job)
            given = _given(job, source)
            made = sample(transformer, chosen, job.request, _Stoppable(work), conditionings=given)
            save_latents(job.latents, made)
            finished += 1
            work.progress.advance(finished, total, "renders")
    return len(todo)


def _given(job: RenderJob, source: PoolSource) -> list[Conditioning]:
    """What the job's mode is given beside the text, from its clip's latents."""
    if job.clip is None:
        return []
    tensors = source.load(job.clip.clip_id)
    if job.request.mode == "i2v":
        return [FirstFrame(tensors["video"][:, :1].float())]
    return [Sound(tensors["audio"].float())]


class _Stoppable(Silent):
    """Steps are too many to report; only the wish to stop is passed on."""

    def __init__(self, work: Work) -> None:
        self._work = work

    @property
    def stopping(self) -> bool:  # type: ignore[override]  # Silent never stops; this one asks
        return self._work.progress.stopping


def _alone(prompts: dict[str, Prompts], job: RenderJob) -> Prompts:
    return Prompts(prompts[job.request.prompt].positive)


@torch.no_grad()
def _prompts(
    jobs: Sequence[RenderJob], work: Work, source: PoolSource, connectors: Any, device: str
) -> dict[str, Prompts]:
    """Contexts of each prompt, with those of the negative prompt."""

    def contexts(text: str) -> Text:
        features = {name: tensor.to(device) for name, tensor in source.text(text).items()}
        return Text(*text_contexts(connectors, [features]))

    negative = contexts(work.shared.prompts.negative)
    return {text: Prompts(contexts(text), negative) for text in {job.request.prompt for job in jobs}}
