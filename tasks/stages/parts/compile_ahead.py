"""Compile the blocks of a training beside the comparison of 8 bits with full precision, in a spare process."""

from collections.abc import Mapping
from typing import Any

import torch

from ltx_core.checkpoint.load import load_connectors
from ltx_core.engine.load import one_block_denoiser
from ltx_core.engine.options import LayerChoice
from ltx_core.memory.plan import GIB, free_bytes
from ltx_core.training.config import TrainSettings
from ltx_core.training.modalities import as_heard
from ltx_core.training.plan_settings import engine_options
from ltx_core.training.run import TrainJob, compile_ahead
from ltx_core.training.samples import StoreSource
from tasks.runtime.device import prepare_device, torch_dtype
from tasks.runtime.stage import StageRun
from tasks.stages.parts.memory import buckets_of, feature_width, plan_on_gpu, training_work
from tasks.stages.samples.requested import sample_requests

BESIDE_BYTES = 24 * GIB
"""Free beside what the training will need: a spare process has a context of CUDA, the connectors, and one block with
its activations."""
GUESSED = LayerChoice("all")
"""The choice of a comparison for most checkpoints. Where it is another, the stage compiles for itself."""


def compile_training(run: StageRun[TrainSettings], _: Mapping[str, Any]) -> None:
    """Work of a spare process. Nothing is compiled where memory is short: blocks are recomputed or offloaded then.

    Raises:
        LtxError, torch.OutOfMemoryError: one block cannot run.
    """
    settings, checkpoint, device = run.config, run.model, prepare_device(run.shared.memory)
    if device != "cuda":
        return
    source = StoreSource(run.inputs["encode_latents"], run.inputs["embed_text"], run.workspace.root)
    heard, _why = as_heard(settings, source.samples)
    buckets = buckets_of(list(run.inputs["encode_latents"]))
    requests = sample_requests(heard, run.shared, buckets)
    work = training_work(heard, run.shared, buckets, requests, num_ranks=1, feature_width=feature_width(run.inputs))
    free = free_bytes(torch.device(device)) - BESIDE_BYTES
    settings, choice = plan_on_gpu(settings, work, run.shared.memory, free, layers=GUESSED)
    if choice.options.offloaded_blocks or choice.options.activation_checkpointing:
        return
    dtype = torch_dtype(settings.dtype)
    options = engine_options(settings, device=device, num_blocks=1, folder=None, layers=GUESSED)
    compile_ahead(
        TrainJob(
            settings=settings,
            source=source,
            load_transformer=lambda: one_block_denoiser(checkpoint, options, device=device, dtype=dtype),
            load_connectors=lambda: load_connectors(checkpoint, device=device, dtype=dtype),
            out_dir=run.out,
            device=device,
            provenance={},
            layers=GUESSED,
        )
    )
