"""Compile the blocks of renders beside the loading of the transformer, each set of adapters in a spare process."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from ltx_core.adapters.lora_layout import Adapter
from ltx_core.adapters.lycoris_layout import is_lycoris_file
from ltx_core.adapters.trained import stacked
from ltx_core.checkpoint.load import load_connectors
from ltx_core.engine.assemble import set_policies
from ltx_core.engine.load import one_block_denoiser
from ltx_core.progress import SILENT
from ltx_core.sampling.guidance import Guidance
from ltx_core.sampling.sampler import sample
from ltx_core.training.samples import StoreSource
from tasks.runtime.device import prepare_device, torch_dtype
from tasks.runtime.spare import Spare, take_spare
from tasks.runtime.stage import StageRun
from tasks.stages.render.config import RenderValidationConfig
from tasks.stages.render.jobs import RenderJob, by_weights, final_checkpoint, plan_jobs
from tasks.stages.render.memory import has_room_beside, resident_engine
from tasks.stages.render.prompts import alone, encoded_prompts

Spares = dict[tuple[Adapter, ...], Spare]
"""By the adapters that each compiles for."""


def start_compiling(
    jobs: Sequence[RenderJob], run: StageRun[RenderValidationConfig], *, together: bool, device: str
) -> Spares:
    """Let spare processes compile for the renders of text, as far as there are spare ones and memory for them."""
    if device != "cuda" or not has_room_beside(jobs, run, together=together):
        return {}
    spares: Spares = {}
    for stack, group in groupby(sorted(jobs, key=by_weights), key=lambda job: job.stack):
        forms = {_form(job): job.key for job in group if job.conditioning is None and job.first is None}
        lycoris = any(is_lycoris_file(adapter.path) for adapter in stack)
        if forms and not lycoris and (spare := take_spare()) is not None:
            spare.start(__name__, compile_renders.__name__, keys=list(forms.values()), together=together)
            spares[stack] = spare
    return spares


def compile_renders(run: StageRun[RenderValidationConfig], words: Mapping[str, Any]) -> None:
    """Work of a spare process: sample the renders of these `keys`, all of one set of adapters, with one block.

    Raises:
        LtxError, torch.OutOfMemoryError: one block cannot run.
    """
    from tasks.stages.render_validation import weights  # which imports the phases

    device, dtype = prepare_device(run.shared.memory), torch_dtype(run.config.dtype)
    planned = plan_jobs(run, final_checkpoint(run.inputs["train_lora"]), weights(run))
    jobs = [job for job in planned if job.key in words["keys"]]
    source = StoreSource(run.inputs["encode_latents"], run.inputs["embed_text"], run.workspace.root)
    connectors = load_connectors(run.model, device=device, dtype=dtype)
    prompts = encoded_prompts(jobs, run, source, connectors, device)
    engine = resident_engine(run.config)
    transformer = one_block_denoiser(run.model, engine, device=device, dtype=dtype)
    set_policies(transformer, engine, None)
    for job in jobs:
        with stacked(transformer, job.stack, partly=True):
            request = replace(job.request, guidance=_without_own_graphs(job.request.guidance))
            texts = prompts[request.prompt]
            texts = texts if request.needs_negative else alone(texts)
            sample(transformer, texts, request, SILENT, together=words["together"])


def _form(job: RenderJob) -> tuple[object, ...]:
    """Everything that blocks are compiled for beside the adapters."""
    request = job.request
    return request.grid, request.audio_tokens, request.mode, job.guided


def _without_own_graphs(guidance: Guidance) -> Guidance:
    """Without the passes that are never compiled: the perturbed and the isolated one."""
    video, audio = (replace(stream, stg=0.0, modality=1.0) for stream in (guidance.video, guidance.audio))
    return Guidance(video=video, audio=audio)
