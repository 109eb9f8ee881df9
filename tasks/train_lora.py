"""Train the LoRA from the caches alone: no video is decoded, no VAE and no text encoder is loaded."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from datasets_spec import Checkpoint, Frames, Latent
from datasets_spec.manifest import rows_digest
from ltx_core.engine.plan import advice
from ltx_core.errors import DataError
from ltx_core.files.digest import DigestMemo, file_digest
from ltx_core.files.table_file import write_table
from ltx_core.progress import Progress
from ltx_core.training.config import FREE_TO_CHANGE, TrainSettings
from ltx_core.training.crepa_settings import check_block
from ltx_core.training.shares import most_ranks
from ltx_core.training.soundless import as_heard
from ltx_core.training.tread import block_routes
from tasks import low_precision
from tasks.kept_budget import forget_budget, keep_budget, with_kept_budget
from tasks.loading import loading
from tasks.quantised import quantised_folder
from tasks.shared import Shared
from tasks.stage import Inputs, Observed, Outcome, Stage
from tasks.stage_run import StageRun
from tasks.subjects import TRANSFORMER
from tasks.train_memory import buckets_of, feature_width, memory_lines, plan_on_gpu, training_work
from tasks.train_notices import train_notices
from tasks.weights import component_identities, open_weights

if TYPE_CHECKING:
    from ltx_core.distributed.ranks import Ranks
    from ltx_core.engine.comparison import Comparison
    from ltx_core.engine.options import LayerChoice
    from ltx_core.pool.source import PoolSource
    from ltx_core.training.metrics import Metric
    from ltx_core.training.run import TrainJob, TrainResult


class TrainLoraConfig(TrainSettings):
    """Settings of the training run."""


def train_lora(run: StageRun) -> Outcome:
    """Train, or resume the newest whole checkpoint in the stage's folder."""
    if run.config.deterministic:
        from ltx_core.engine.deterministic import set_environment

        set_environment()
    with loading():
        from ltx_core.distributed.join import joined
        from ltx_core.pool.source import PoolSource
        from ltx_core.training.run import train_lora as train
        from tasks.device import prepare_device

    latents: list[Latent] = list(run.inputs["encode_latents"])
    if not any(row.split == "train" for row in latents):
        raise DataError(
            f"none of the {len(latents)} clips is in the train split; add footage or lower the dataset's eval_fraction"
        )
    frames: list[Frames] = list(run.inputs.get("embed_frames", ()))
    latents = _embedded(latents, frames, run)
    source = PoolSource(latents, run.inputs["embed_text"], run.workspace.root, frames)
    device = prepare_device(run.shared.memory)
    with joined(device) as ranks:
        if run.force and ranks.is_first:
            shutil.rmtree(run.out / "checkpoints", ignore_errors=True)
            forget_budget(run.out)
            low_precision.forget(run.out)
        result = train(_job(run, source, ranks, device), run.progress)
    if ranks.is_first:
        _write_metrics(run.out / "metrics.parquet", result.metrics)
    final = _row("final", result.steps, result.eval_loss, result.lora_path, result, run)
    saved = [_row(f"step-{s.step:06d}", s.step, s.eval_loss, s.path, result, run) for s in result.saved]
    figures = {"steps": result.steps, "resumed_from_step": result.resumed_from_step or 0} | _losses(final)
    return Outcome(
        rows=[final, *saved],
        num_in=len(latents),
        num_out=len(latents),
        computed=len(latents),
        reused=0,
        unit="clips",
        figures=figures,
    )


def _embedded(latents: Sequence[Latent], frames: Sequence[Frames], run: StageRun) -> list[Latent]:
    """Clips to train on: with CREPA those whose frames have features, as `embed_frames` may have set some aside."""
    if run.config.crepa is None:
        return list(latents)
    known = {row.clip_id for row in frames}
    kept = [row for row in latents if row.split == "eval" or row.clip_id in known]
    if len(kept) < len(latents):
        run.progress.note(f"{len(latents) - len(kept)} clips whose frames could not be embedded are not trained on")
    return kept


def num_ranks(config: TrainLoraConfig, shared: Shared) -> int:
    """As many processes as `memory.num_gpus` says; `auto` are the GPUs that share a step's batches evenly."""
    if shared.memory.num_gpus != "auto":
        return shared.memory.num_gpus
    from tasks.device import num_devices

    return most_ranks(config, num_devices(shared.memory))


def _row(name: str, step: int, eval_loss: float | None, file: Path, result: "TrainResult", run: StageRun) -> Checkpoint:
    return Checkpoint(
        name=name,
        step=step,
        eval_loss=eval_loss,
        base_eval_loss=result.base_eval_loss,
        sha256=file_digest(file),
        file=run.workspace.relative(file),
    )


def _write_metrics(path: Path, metrics: "Sequence[Metric]") -> None:
    """Every value that settings and data alone decide, by step; no times, so that equal runs give equal bytes."""
    columns = {name: [getattr(m, name) for m in metrics] for name in ("step", "name", "value")}
    write_table(path, pa.table(columns))


def _losses(row: Checkpoint) -> dict[str, float]:
    losses = {"eval_loss": row.eval_loss, "base_eval_loss": row.base_eval_loss}
    return {name: loss for name, loss in losses.items() if loss is not None}


def _job(run: StageRun, source: "PoolSource", ranks: "Ranks", device: str) -> "TrainJob":
    from ltx_core.checkpoint.load import load_connectors
    from ltx_core.engine.load import load_denoiser
    from ltx_core.training.engine import engine_options
    from ltx_core.training.run import TrainJob
    from tasks.device import torch_dtype

    checkpoint = open_weights(run.shared.model).checkpoint
    layers = _layers(run, source, ranks, device)
    settings, memory_advice = _planned(run, source, ranks, device, layers)
    dtype = torch_dtype(settings.dtype)
    sharded = run.shared.memory.sharding == "full"  # then it fits no GPU whole
    num_blocks = int(checkpoint.arguments("transformer")["num_layers"])
    offload = run.out / "offload"
    options = engine_options(
        settings, device=device, num_blocks=num_blocks, folder=offload, sharded=sharded, layers=layers
    )
    cache = quantised_folder(run, options, dtype, writes=ranks.is_first)
    return TrainJob(
        settings=settings,
        source=source,
        load_transformer=_checked(
            run,
            lambda: load_denoiser(checkpoint, options, device="cpu" if sharded else device, dtype=dtype, cache=cache),
        ),
        offload_dir=offload,
        load_connectors=_checked(run, lambda: load_connectors(checkpoint, device=device, dtype=dtype)),
        out_dir=run.out,
        device=device,
        provenance=_provenance(run) | ({} if layers is None else {"layers_digest": layers.digest()}),
        ranks=ranks,
        sharding=run.shared.memory.sharding,
        layers=layers,
        memory_advice=memory_advice,
    )


def _checked(run: StageRun, load: Callable[[], Any]) -> Callable[[], Any]:
    """Load, and then see that the files are still those that the stage is named by."""

    def loaded() -> Any:
        module = load()
        run.memo.check()
        return module

    return loaded


def _layers(run: StageRun, source: "PoolSource", ranks: "Ranks", device: str) -> "LayerChoice | None":
    """How layers in 8 bits are held and multiplied, if a comparison says so."""

    def make() -> "Comparison":
        import torch

        from ltx_core.checkpoint.load import load_connectors
        from ltx_core.engine.load import compare_in_8_bits
        from ltx_core.training.compared import compared_clip
        from tasks.device import torch_dtype

        checkpoint, dtype = open_weights(run.shared.model).checkpoint, torch_dtype(settings.dtype)
        assert settings.base_precision != "native"  # nothing is compared for it
        clip = compared_clip(settings, source, load_connectors(checkpoint, device=device, dtype=dtype), device=device)
        found = compare_in_8_bits(
            checkpoint,
            settings.base_precision,
            clip.loss,
            clip=clip.clip_id,
            low_backward=settings.low_precision_backward,
            device=device,
            dtype=dtype,
        )
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
        return found

    settings = TrainSettings.model_validate(run.config.model_dump())
    found = low_precision.compared(run, ranks, make)
    return None if found is None else found.choice


def _planned(
    run: StageRun, source: "PoolSource", ranks: "Ranks", device: str, layers: "LayerChoice | None"
) -> tuple[TrainSettings, str]:
    """The settings with what was left open chosen for this device, and what to change should it not do."""
    settings = with_kept_budget(TrainSettings.model_validate(run.config.model_dump()), run.out)
    if not device.startswith("cuda"):
        return settings, ""
    import torch

    from ltx_core.autoencoder.device_memory import free_bytes

    buckets = buckets_of(list(run.inputs["encode_latents"]))
    width = feature_width(run.inputs)
    heard, _ = as_heard(settings, source.samples)
    needed = training_work(heard, run.shared, buckets, num_ranks=ranks.size, feature_width=width)
    free = free_bytes(torch.device(device))
    settings, choice = plan_on_gpu(settings, needed, run.shared.memory, free, layers=layers)
    if ranks.is_first:
        keep_budget(settings, run.out)
        run.progress.note(f"memory plan: {choice.why}")
    return settings, advice(needed, choice.options)


def _provenance(run: StageRun) -> dict[str, str]:
    """What made this LoRA, by content; no path and no time, so that the same run gives the same bytes."""
    identities = component_identities(run.shared.model, run.memo, "transformer", "connectors")
    return {
        "base_transformer": identities["transformer"],
        "base_connectors": identities["connectors"],
        "latents_digest": run.inputs["encode_latents"].digest,
        "texts_digest": texts_digest(run.inputs),
        "settings_digest": run.config.digest(),
    } | ({"frames_digest": run.inputs["embed_frames"].digest} if "embed_frames" in run.inputs else {})


def texts_digest(inputs: Inputs) -> str:
    """Digest of the texts that training reads: captions of the clips, and the empty one. Prompts are not among them."""
    read = {row.caption for row in inputs["encode_latents"]} | {""}
    return rows_digest(row for row in inputs["embed_text"] if row.text in read)


def observe(_config: TrainLoraConfig, shared: Shared, memo: DigestMemo) -> Observed:
    """The transformer and the text connectors."""
    return component_identities(shared.model, memo, "transformer", "connectors")


def prepare(config: TrainLoraConfig, shared: Shared, _progress: Progress) -> TrainLoraConfig:
    """See from the header that the model has the blocks that are named.

    Raises:
        ConfigError: it has not.
    """
    num_blocks = int(open_weights(shared.model).checkpoint.arguments("transformer")["num_layers"])
    block_routes(config.tread_routes, num_blocks)
    if config.crepa is not None:
        check_block(config.crepa, num_blocks)
    return config


STAGE = Stage(
    name="train_lora",
    summary=__doc__,
    version=2,
    subjects=(TRANSFORMER,),
    config=TrainLoraConfig,
    needs=("encode_latents", "embed_text"),
    uses=("embed_frames",),
    makes=Checkpoint,
    run=train_lora,
    num_ranks=num_ranks,
    observe=observe,
    device="gpu",
    needs_weights=True,
    reads={"embed_text": texts_digest},
    not_in_key=FREE_TO_CHANGE,
    prepare=prepare,
    notices=train_notices,
    memory=memory_lines,
    artifacts=("lora.safetensors", "metrics.parquet", "config.json", low_precision.FILE),
)
