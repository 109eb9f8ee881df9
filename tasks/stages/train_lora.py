"""Train the LoRA from stored latents and text features; VAEs are loaded only to decode rendered samples.

No footage is decoded, and no text encoder is loaded. `samples`, on by default, needs the decoders beside the
transformer while it renders.

A compiled block that recomputes some of its operations rounds differently from one that keeps them. So a resumed run
keeps the activation budget that it began with, even if less memory is free now. Activation checkpointing of whole
blocks and block offload give the same bits and are planned again.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from datasets_spec import Checkpoint, Frames, Latent
from datasets_spec.manifest import rows_digest
from ltx_core.errors import ConfigError, DataError
from ltx_core.io.digest import file_digest
from ltx_core.io.json_file import read_json, write_json
from ltx_core.io.table_file import write_table
from ltx_core.memory.plan import GIB, free_bytes
from ltx_core.memory.training import advice
from ltx_core.progress import SILENT
from ltx_core.training.config import FREE_TO_CHANGE, TrainSettings
from ltx_core.training.modalities import as_heard
from ltx_core.training.plan_settings import most_ranks
from tasks.runtime.device import loading
from tasks.runtime.shared import Shared
from tasks.runtime.spare import Spare, take_spare
from tasks.runtime.stage import TRANSFORMER, Inputs, Observed, Outcome, Stage, StageRun
from tasks.runtime.weights import component_identities
from tasks.stages.parts import low_precision
from tasks.stages.parts.low_precision import quantised_folder
from tasks.stages.parts.memory import buckets_of, feature_width, memory_lines, plan_on_gpu, training_work, vae_options
from tasks.stages.samples.kept import ARTIFACTS as SAMPLES
from tasks.stages.samples.kept import forget_samples
from tasks.stages.samples.requested import followed_requests, sample_requests

if TYPE_CHECKING:
    from diffusers import LTX2VideoTransformer3DModel

    from ltx_core.distributed.ranks import Ranks
    from ltx_core.engine.options import LayerChoice
    from ltx_core.engine.precision_choice import Comparison
    from ltx_core.engine.quantised_cache import QuantisedParts
    from ltx_core.sampling.decoding import Decoders
    from ltx_core.training.loop import SampleMaker
    from ltx_core.training.metrics import Metric
    from ltx_core.training.run import TrainJob, TrainResult
    from ltx_core.training.samples import StoreSource


def texts_digest(inputs: Inputs) -> str:
    """Digest of the texts that training reads: captions of the clips, and the empty one. Prompts are not among them."""
    read = {caption for row in inputs["encode_latents"] for caption in row.captions} | {""}
    return rows_digest(row for row in inputs["embed_text"] if row.text in read)


class TrainLora(Stage[TrainSettings, Checkpoint]):
    """Trains, or resumes the newest whole checkpoint in the stage's folder."""

    name = "train_lora"
    config = TrainSettings
    needs = ("encode_latents", "embed_text")
    uses = ("embed_frames",)
    makes = Checkpoint
    version = 2
    subjects = (TRANSFORMER,)
    device = "gpu"
    imports = ("torch", "ltx_core.distributed.ranks", "ltx_core.training.run", "ltx_core.training.samples")
    has_ranks = True
    num_spares = 1
    needs_weights = True
    reads: ClassVar = {"embed_text": texts_digest}
    not_in_key = FREE_TO_CHANGE
    artifacts = ("lora.safetensors", "metrics.parquet", "config.json", low_precision.FILE, *SAMPLES)

    def prepare(self, run: StageRun[TrainSettings]) -> TrainSettings:
        """See from the header that the model has the blocks that are named, and that datasets have what is given.

        Raises:
            ConfigError: it has not, or it is not.
        """
        _check_conditions(run.config, run.shared)
        run.config.check_blocks(int(run.model.arguments("transformer")["num_layers"]))
        return run.config

    def observe(self, run: StageRun[TrainSettings]) -> Observed:
        """The transformer and the text connectors."""
        return component_identities(run.shared.model, run.memo, "transformer", "connectors")

    def memory(self, run: StageRun[TrainSettings]) -> Sequence[str]:
        """Memory that it takes of the GPU and the host, and what was chosen so that it fits."""
        return memory_lines(run.config, run.shared, run.inputs, run.workspace)

    def warnings(self, run: StageRun[TrainSettings]) -> Sequence[str]:
        """Options that cost memory or time and may not be meant."""
        return [*_batch_warnings(run.config, run.shared), *run.config.method_warnings()]

    def num_ranks(self, run: StageRun[TrainSettings]) -> int:
        """As many processes as `memory.num_gpus` says; `auto` are the GPUs that share a step's batches evenly."""
        if run.shared.memory.num_gpus != "auto":
            return run.shared.memory.num_gpus
        from tasks.runtime.device import num_devices

        return most_ranks(run.config, num_devices(run.shared.memory))

    def run(self, run: StageRun[TrainSettings]) -> Outcome:
        """The final LoRA and the kept checkpoints."""
        if run.config.deterministic:
            from ltx_core.engine.compiling import set_environment

            set_environment()
        with loading():
            from ltx_core.distributed.ranks import joined
            from ltx_core.training.run import train_lora as train
            from ltx_core.training.samples import StoreSource
            from tasks.runtime.device import prepare_device

        latents: list[Latent] = list(run.inputs["encode_latents"])
        if not any(row.split == "train" for row in latents):
            raise DataError(
                f"none of the {len(latents)} clips is in the train split; add footage or lower the dataset's "
                f"eval_fraction"
            )
        frames: list[Frames] = list(run.inputs.get("embed_frames", ()))
        latents = _embedded(latents, frames, run)
        source = StoreSource(latents, run.inputs["embed_text"], run.workspace.root, frames)
        device = prepare_device(run.shared.memory)
        with joined(device) as ranks:
            if run.force and ranks.is_first:
                shutil.rmtree(run.out / "checkpoints", ignore_errors=True)
                forget_budget(run.out)
                low_precision.forget(run.out)
                forget_samples(run.out)
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
            unit="clips",
            figures=figures,
        )


def _embedded(latents: Sequence[Latent], frames: Sequence[Frames], run: StageRun[TrainSettings]) -> list[Latent]:
    """Clips to train on: where a method needs features of frames, those that have them, as `embed_frames` may have set
    some aside."""
    if not run.config.needs_frames:
        return list(latents)
    known = {row.clip_id for row in frames}
    kept = [row for row in latents if row.split == "eval" or row.clip_id in known]
    if len(kept) < len(latents):
        run.progress.note(f"{len(latents) - len(kept)} clips whose frames could not be embedded are not trained on")
    return kept


def _row(
    name: str, step: int, eval_loss: float | None, file: Path, result: "TrainResult", run: StageRun[TrainSettings]
) -> Checkpoint:
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


def _job(run: StageRun[TrainSettings], source: "StoreSource", ranks: "Ranks", device: str) -> "TrainJob":
    from ltx_core.checkpoint.load import load_connectors
    from ltx_core.engine.load import load_denoiser
    from ltx_core.training.plan_settings import engine_options
    from ltx_core.training.run import OFFLOAD_FOLDER, TrainJob
    from tasks.runtime.device import torch_dtype

    checkpoint = run.model
    spare = take_spare()
    layers, quantised = _layers(run, source, ranks, device, spare)
    held = sum(tensor.nbytes for part in quantised.values() for tensor in part.values())
    settings, memory_advice = _planned(run, source, ranks, device, layers, held)
    dtype = torch_dtype(settings.dtype)
    sharded = run.shared.memory.sharding == "full"  # then it fits no GPU whole
    num_blocks = int(checkpoint.arguments("transformer")["num_layers"])
    options = engine_options(
        settings, device=device, num_blocks=num_blocks, folder=run.out / OFFLOAD_FOLDER, sharded=sharded, layers=layers
    )
    cache = quantised_folder(run, options, dtype, writes=ranks.is_first)

    def load() -> "LTX2VideoTransformer3DModel":
        place = "cpu" if sharded else device
        transformer = load_denoiser(checkpoint, options, device=place, dtype=dtype, cache=cache, quantised=quantised)
        if spare is not None:
            spare.wait(run.progress, "compiling")
        return transformer

    return TrainJob(
        settings=settings,
        source=source,
        load_transformer=_checked(run, load),
        load_connectors=_checked(run, lambda: load_connectors(checkpoint, device=device, dtype=dtype)),
        out_dir=run.out,
        device=device,
        provenance=_provenance(run) | ({} if layers is None else {"layers_digest": layers.digest()}),
        ranks=ranks,
        sharding=run.shared.memory.sharding,
        layers=layers,
        memory_advice=memory_advice,
        samples=_samples(run, device),
    )


def _samples(run: StageRun[TrainSettings], device: str) -> "SampleMaker | None":
    """Return the renderer of samples; None where there are none to render."""
    rows = list(run.inputs["encode_latents"])
    requests = sample_requests(run.config, run.shared, buckets_of(rows))
    followed = followed_requests(run.config, run.shared, rows)
    if not requests and not followed:
        return None
    from tasks.runtime.device import torch_dtype
    from tasks.stages.render.phases import load_decoders
    from tasks.stages.samples.maker import TrainingSamples

    def load() -> "Decoders":
        asked, dtype = vae_options(run.shared.memory), torch_dtype(run.config.dtype)
        return load_decoders(run.model, "cpu", dtype, asked=asked, note=SILENT.note)

    allowed = run.config.samples.allow_broken_base
    return TrainingSamples(requests, run.out, _checked(run, load), device, allow_broken_base=allowed, followed=followed)


def _checked(run: StageRun[TrainSettings], load: Callable[[], Any]) -> Callable[[], Any]:
    """Load, and then see that the files are still those that the stage is named by."""

    def loaded() -> Any:
        module = load()
        run.memo.check()
        return module

    return loaded


def _layers(
    run: StageRun[TrainSettings], source: "StoreSource", ranks: "Ranks", device: str, spare: Spare | None
) -> "tuple[LayerChoice | None, QuantisedParts]":
    """Return how layers in 8 bits are stored and multiplied, if a comparison decides it, and those blocks that it has
    left on the device in 8 bits. While it compares, a `spare` process compiles."""
    quantised: QuantisedParts = {}

    def make() -> "Comparison":
        import torch

        from ltx_core.checkpoint.load import load_connectors
        from ltx_core.engine.load import compare_in_8_bits
        from ltx_core.training.objective import comparison_clip
        from tasks.runtime.device import torch_dtype

        if spare is not None and ranks.size == 1:
            spare.start("tasks.stages.parts.compile_ahead", "compile_training")
        checkpoint, dtype = run.model, torch_dtype(settings.dtype)
        assert settings.base_precision != "native"  # nothing is compared for it
        clip = comparison_clip(settings, source, load_connectors(checkpoint, device=device, dtype=dtype), device=device)
        found, parts = compare_in_8_bits(
            checkpoint,
            settings.base_precision,
            clip.loss,
            clip=clip.clip_id,
            low_backward=settings.low_precision_backward,
            device=device,
            dtype=dtype,
            kept_bytes=max(0, free_bytes(torch.device(device)) - COMPARING_BYTES) if device == "cuda" else 0,
        )
        if run.shared.memory.sharding == "none":  # ranks that share the weights load them on the CPU
            quantised.update(parts)
        del parts
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
        return found

    settings = run.config
    found = low_precision.compared(run, ranks, make)
    return None if found is None else found.choice, quantised


COMPARING_BYTES = 64 * GIB
"""Left free of a GPU while 8 bits are compared with full precision, for the largest clips and one block; what it has
beyond keeps blocks."""


def _planned(
    run: StageRun[TrainSettings],
    source: "StoreSource",
    ranks: "Ranks",
    device: str,
    layers: "LayerChoice | None",
    held: int,
) -> tuple[TrainSettings, str]:
    """The settings with what was left open chosen for this device, and what to change should it not do. `held` bytes of
    the device are the transformer's already."""
    settings = with_kept_budget(run.config, run.out)
    if not device.startswith("cuda"):
        return settings, ""
    import torch

    buckets = buckets_of(list(run.inputs["encode_latents"]))
    width = feature_width(run.inputs)
    heard, _ = as_heard(settings, source.samples)
    requests = sample_requests(heard, run.shared, buckets)
    needed = training_work(heard, run.shared, buckets, requests, num_ranks=ranks.size, feature_width=width)
    free = free_bytes(torch.device(device)) + held
    settings, choice = plan_on_gpu(settings, needed, run.shared.memory, free, layers=layers)
    if ranks.is_first:
        keep_budget(settings, run.out)
        run.progress.note(f"memory plan: {choice.why}")
    return settings, advice(needed, choice.options)


def _provenance(run: StageRun[TrainSettings]) -> dict[str, str]:
    """Return the origin of this LoRA, by content; no path and no time, so that the same run gives the same bytes."""
    identities = component_identities(run.shared.model, run.memo, "transformer", "connectors")
    return {
        "base_transformer": identities["transformer"],
        "base_connectors": identities["connectors"],
        "latents_digest": run.inputs["encode_latents"].digest,
        "texts_digest": texts_digest(run.inputs),
        "settings_digest": run.config.digest(),
    } | ({"frames_digest": run.inputs["embed_frames"].digest} if "embed_frames" in run.inputs else {})


SMALL_GIB = 40.0
"""The guide's smallest card for batches is an A100, which has as much at least."""


def _check_conditions(config: TrainSettings, shared: Shared) -> None:
    """See that some dataset has what samples are to be given.

    Raises:
        ConfigError: none has.
    """
    wanted = {
        "reference_dropout": ("reference", config.reference_dropout),
        "reference_strength": ("reference", config.reference_strength != 1),
        "inpaint_probability": ("mask_dir", config.inpaint_probability),
        "keyframe_probability": ("keyframes", config.keyframe_probability),
    }
    for name, (field, asked) in wanted.items():
        heard = field == "reference" and any(dataset.audio.reference_dir for dataset in shared.datasets)
        if asked and not heard and not any(getattr(dataset, field) for dataset in shared.datasets):
            raise ConfigError(
                f"train_lora.{name} is {getattr(config, name)} and no dataset has a {field.partition('_')[0]}; set "
                f"datasets[].{field} or leave it out"
            )


def _batch_warnings(config: TrainSettings, shared: Shared) -> Sequence[str]:
    """Batches of several clips on a card that is small, or too small for the weights."""
    gib, blocks = shared.memory.gpu_gib, config.offloaded_blocks
    small = f"the GPU has {gib:g} GiB" if gib is not None and gib < SMALL_GIB else ""
    waiting = f"{blocks} blocks wait on the host" if blocks not in (0, "auto") else ""
    if config.batch_size > 1 and (small or waiting):
        return [
            f"train_lora.batch_size is {config.batch_size} while {small or waiting}; 1 with {config.batch_size} times "
            f"the gradient_accumulation_steps makes the same step in less memory"
        ]
    return []


FILE = "activation_budget.json"


def with_kept_budget(settings: TrainSettings, folder: Path) -> TrainSettings:
    """The settings with the share that was chosen before, if it is left open and there is one.

    Raises:
        DamagedError: there is one and it cannot be read.
    """
    file = folder / FILE
    if settings.activation_budget != "auto" or not file.exists():
        return settings
    return settings.model_copy(update={"activation_budget": float(read_json(file)["activation_budget"])})


def keep_budget(settings: TrainSettings, folder: Path) -> None:
    """Remember what was chosen."""
    write_json(folder / FILE, {"activation_budget": settings.activation_budget})


def forget_budget(folder: Path) -> None:
    """The run begins anew."""
    (folder / FILE).unlink(missing_ok=True)
