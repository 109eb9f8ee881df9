"""Train one LoRA, from loading the model to a checked file; goes on where an earlier run of the same was left."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from ltx_core.adapters.lora import add_lora, linear_layers
from ltx_core.adapters.lycoris_layout import lycoris_layers
from ltx_core.adapters.reference_header import reference_header
from ltx_core.adapters.trained import PlainLora, TrainedAdapter, check_export
from ltx_core.conditioning.reference import reference_scale
from ltx_core.distributed.ranks import ALONE, Ranks
from ltx_core.engine.assemble import block_offload, set_policies
from ltx_core.engine.compiling import deterministic_kernels
from ltx_core.engine.low_precision import unrounded_inputs
from ltx_core.engine.options import EngineOptions, LayerChoice
from ltx_core.errors import ConfigError
from ltx_core.io.atomic import remove_partials, write_bytes
from ltx_core.io.lock import folder_lock
from ltx_core.progress import SILENT, Progress
from ltx_core.training.config import TrainSettings
from ltx_core.training.context_cache import ContextCache
from ltx_core.training.draws import NO_CAPTION
from ltx_core.training.evaluation import eval_clips
from ltx_core.training.loop import Run, SampleMaker, train
from ltx_core.training.methods.method import Setup
from ltx_core.training.methods.registry import make_methods
from ltx_core.training.metrics import History, Metric
from ltx_core.training.modalities import as_heard
from ltx_core.training.objective import Objective
from ltx_core.training.optimizer import make_optimizer, restore_moments
from ltx_core.training.order import epoch_plan, in_steps, learnable
from ltx_core.training.out_of_memory import fullest_batches
from ltx_core.training.plan_settings import bucket_of, check_shares, check_streams, engine_options, lora_ranks
from ltx_core.training.samples import SampleInfo, SampleSource
from ltx_core.training.state import (
    LORA_FILE,
    checkpoint_folder,
    checkpoints,
    config_digest,
    newest_state,
    restore_adapter,
    step_of,
)
from ltx_core.training.step import Backward, EagerBackward, GraphedBackward, backward_step


def put_on(transformer: Any, settings: TrainSettings) -> TrainedAdapter:
    """Add a fresh adapter; the transformer then does what its base does.

    Raises:
        ConfigError: the settings' targets match no layer, or an option is for layers of which none is trained.
    """
    linear = linear_layers(transformer)
    if settings.lycoris is None:
        ranks = lora_ranks(linear, settings)
        add_lora(
            transformer,
            sorted(ranks),
            rank=settings.rank,
            alpha=settings.lora_alpha,
            seed=settings.seed,
            ranks=ranks,
            dropout=settings.dropout,
        )
        return PlainLora(transformer)
    from ltx_core.adapters.lycoris_files import TrainedLycoris  # the library takes seconds to import

    only, blocks = settings.only_stream, settings.only_blocks
    layers = lycoris_layers(linear, settings.lycoris, settings.lora_targets, only=only, blocks=blocks)
    check_streams(layers, settings)
    return TrainedLycoris(transformer, layers, seed=settings.seed, multiplier=settings.lycoris.multiplier)


DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
PROBE_SIGMA = 0.5
Sharding = Literal["none", "full"]


OFFLOAD_FOLDER = "offload"
"""In a run's folder: files of blocks that are offloaded to disk."""


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """One training run."""

    settings: TrainSettings
    source: SampleSource
    load_transformer: Callable[[], Any]
    """The frozen base on `device`, in the dtype that `settings` names."""
    load_connectors: Callable[[], Any]
    out_dir: Path
    """Gets `lora.safetensors` and `checkpoints/`."""
    device: str
    provenance: dict[str, str]
    """Names the base and the data in the file's header; equal for equal runs: no time, no path."""
    context_length: int | None = None
    """Text tokens after the connectors; None for the length the model was trained with."""
    ranks: Ranks = ALONE
    """This process among those that train together, all on the same job."""
    sharding: Sharding = "none"
    """`full` cuts the frozen blocks among ranks; `load_transformer` may then leave the base on the CPU."""

    layers: LayerChoice | None = None
    """The choice of a comparison for `low_precision: auto`."""
    memory_advice: str = ""
    """Advice on what to change if the device is full, and how much it helps; from the memory plan."""
    samples: SampleMaker | None = None
    """Renders the samples that `settings.samples` asks for; None: none are rendered."""

    def engine_options(self, num_blocks: int) -> EngineOptions:
        """The way in which the blocks of a transformer are to run."""
        return engine_options(
            self.settings,
            device=self.device,
            num_blocks=num_blocks,
            folder=self.out_dir / OFFLOAD_FOLDER,
            sharded=self.sharding == "full",
            layers=self.layers,
        )


@dataclass(frozen=True)
class SavedLora:
    """A LoRA of an earlier step that was kept."""

    step: int
    eval_loss: float | None
    """Measured at that very step, else None."""
    path: Path


@dataclass(frozen=True)
class TrainResult:
    """The results of a finished run."""

    lora_path: Path
    steps: int
    eval_loss: float | None
    """After the last step; None without held-out clips."""
    base_eval_loss: float | None
    """Of the base model on the same clips, noise and noise levels."""
    metrics: tuple[Metric, ...]
    """Every reported value that settings and data alone decide, so no times."""
    resumed_from_step: int | None
    saved: tuple[SavedLora, ...]
    """LoRAs of the kept checkpoints, oldest first."""


def train_lora(job: TrainJob, progress: Progress) -> TrainResult:
    """Train, check and write a LoRA. Killed at any point and run again, it gives the same bytes; on a GPU if the
    settings are `deterministic` and `ltx_core.engine.compiling.set_environment` was called first.

    Raises:
        ConfigError: the settings do not fit the model.
        DataError: a clip cannot be trained on, or made the loss not finite; names it.
        CheckpointError: a checkpoint in `out_dir` is of other settings, or the LoRA fails its last check.
        TransientError: another rank is gone.
        OutOfMemory, StorageError, Stopped: as their classes say.
    """
    root = job.out_dir / "checkpoints"
    with deterministic_kernels() if job.settings.deterministic else nullcontext():
        if not job.ranks.is_first:
            job.ranks.wait()  # the first rank holds the folder and has cleared it
            return _train(job, root, progress)
        with folder_lock(root, progress):
            remove_partials(root)
            job.ranks.wait()
            return _train(job, root, progress)


def _train(job: TrainJob, root: Path, progress: Progress) -> TrainResult:
    settings, why = as_heard(job.settings, job.source.samples)
    if why and job.ranks.is_first:
        progress.note(why)
    job = replace(job, settings=in_steps(settings, job.source.samples))
    check_shares(job.settings, job.ranks)
    digest = config_digest(job.settings, job.source.samples, job.provenance)
    state = newest_state(root, digest, progress)
    run = prepare(job, root, digest, state.history if state is not None else History(), progress)
    start = 0
    if state is not None:
        start = state.step
        restore_adapter(run.parameters, state.adapter)
        restore_moments(run.optimizer, run.parameters, state.moments)
        for method in run.objective.methods:
            if method.state_file:
                method.restore(state.methods[method.state_file])
        progress.note(f"going on from step {start} of {job.settings.steps}")
    train(run, start)
    lora = _export(job, run)
    return _result(job, run, lora, state.step if state is not None else None)


def compile_ahead(job: TrainJob) -> None:
    """Run a batch of each form once, for the functions that PyTorch compiles for it and keeps; nothing else is kept.
    `job` is that of the training but for its transformer, which may have one block.

    Raises:
        LtxError, torch.OutOfMemoryError: it cannot run.
    """
    settings, _ = as_heard(job.settings, job.source.samples)
    job = replace(job, settings=in_steps(settings, job.source.samples))
    run = prepare(job, job.out_dir, "", History(), SILENT)
    for batch in fullest_batches(run.objective, run.plan):
        backward_step(run.objective, [batch], backward=run.backward)


def prepare(job: TrainJob, root: Path, digest: str, history: History, progress: Progress) -> Run:
    """Everything a run works with, the LoRA at its start."""
    settings = job.settings
    samples = job.source.samples
    plan = epoch_plan(settings, samples)
    held_out = eval_clips(learnable(samples, settings), settings.max_eval_clips, settings.seed)
    if not held_out:
        progress.note("no clip is held out: there will be no eval loss. Set eval_fraction above 0 or add footage.")
    if settings.caption_dropout or any(sample.caption_dropout for sample in samples):
        job.source.text(NO_CAPTION)  # an empty caption that was never embedded shows now, not at some later step
    adapter = _load_adapted(job)
    transformer, trained = adapter.transformer, adapter.parameters()
    methods = make_methods(Setup(settings, transformer, job.source, plan.samples, trained, job.device))
    parameters = trained | {name: own for method in methods for name, own in method.parameters().items()}
    optimizer = make_optimizer(parameters, settings)  # first: it decides the weights' dtype, and graphs the gradients'
    for method in methods:
        method.start()
    contexts = ContextCache(job.source, job.load_connectors(), job.context_length)
    objective = Objective(
        transformer, job.source, contexts, settings, job.device, methods, sharded=job.sharding == "full"
    )
    return Run(
        objective=objective,
        backward=_backward(job, objective, list(parameters.values())),
        plan=plan,
        held_out=held_out,
        adapter=adapter,
        parameters=parameters,
        optimizer=optimizer,
        history=history,
        checkpoints=root,
        config_digest=digest,
        provenance=job.provenance | _reference_header(plan.samples),
        progress=progress,
        ranks=job.ranks,
        memory_advice=job.memory_advice,
        samples=job.samples if settings.samples.are_made_in(settings.steps) else None,
    )


def _reference_header(samples: Sequence[SampleInfo]) -> dict[str, str]:
    """Return the header strings of a LoRA that say what its references are; none without any.

    Raises:
        ConfigError: they are smaller than their clips by several factors, of which a header has one.
    """
    followed = [sample for sample in samples if sample.reference is not None]
    videos = [sample for sample in followed if not sample.is_one_frame]  # images say nothing of time
    scales = {
        reference_scale(bucket_of(sample.bucket, sample.frame_rate, 1).shape.latent(), sample.reference)
        for sample in videos or followed
        if sample.reference is not None
    }
    if len(scales) > 1:
        raise ConfigError(
            f"clips have references that are smaller by {sorted(map(tuple, scales))} in space and time; a LoRA is for "
            f"one factor each. Set one reference.downscale_factor and frame_factor for all datasets"
        )
    return reference_header(*scales) if scales else {}


def _load_adapted(job: TrainJob) -> TrainedAdapter:
    """A fresh adapter on the base."""
    settings = job.settings
    transformer = job.load_transformer()
    found = transformer.proj_in.weight.dtype
    if found != DTYPES[settings.dtype]:
        raise ConfigError(f"dtype is {settings.dtype!r} but the transformer was loaded as {found}; load it as that")
    adapter = put_on(transformer, settings)
    options = job.engine_options(len(transformer.transformer_blocks))
    set_policies(transformer, options, block_offload(transformer))
    if job.sharding == "full":
        from ltx_core.distributed.sharding import shard_base  # FSDP takes more than a second to import

        shard_base(transformer, job.ranks, job.device)
    return adapter


def _backward(job: TrainJob, objective: Objective, parameters: Sequence[torch.nn.Parameter]) -> Backward:
    options = job.engine_options(len(objective.transformer.transformer_blocks))
    return GraphedBackward(objective, parameters) if options.graphs else EagerBackward(objective)


def _export(job: TrainJob, run: Run) -> Path:
    """Check the last checkpoint's LoRA against the trained one, then hand it out. Every rank checks, one writes."""
    made = checkpoint_folder(run.checkpoints, job.settings.steps) / LORA_FILE
    # one without a stream leaves half of the LoRA unused
    probed = max(run.plan.samples, key=lambda sample: sample.has_sound + sample.has_video)
    batch = run.objective.eval_batch(probed, PROBE_SIGMA).to(job.device)

    def probe() -> torch.Tensor:
        video, audio = run.objective.predict(batch)
        return video.flatten() if audio is None else torch.cat([video.flatten(), audio.flatten()])

    run.ranks.wait()  # for the file
    with run.exported(), unrounded_inputs(run.objective.transformer):
        check_export(made, run.objective.transformer, probe, run.adapter)
    path = job.out_dir / LORA_FILE
    if run.ranks.is_first:
        write_bytes(path, made.read_bytes())
    run.ranks.wait()
    return path


def _result(job: TrainJob, run: Run, lora: Path, resumed_from_step: int | None) -> TrainResult:
    history, steps = run.history, job.settings.steps
    saved = []
    for folder in reversed(checkpoints(run.checkpoints)):
        saved.append(SavedLora(step_of(folder), history.at(step_of(folder), "eval/loss"), folder / LORA_FILE))
    return TrainResult(
        lora_path=lora,
        steps=steps,
        eval_loss=history.at(steps, "eval/loss"),
        base_eval_loss=history.at(0, "eval/loss"),
        metrics=tuple(history.rows),
        resumed_from_step=resumed_from_step,
        saved=tuple(saved),
    )
