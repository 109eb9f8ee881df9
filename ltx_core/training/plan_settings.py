"""Translation of a run's settings and clips for the memory plan, and of the plan's choices into settings. No torch.

`gradient_accumulation_steps` counts the batches of an optimizer step, whoever computes them: with 2 GPUs each takes
half of them. So the clips of a step, their order and the learning rates depend on the settings and never on the
machine, and a run begun on one GPU goes on with eight.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ltx_core.adapters.lora_layout import stream_of, target_layers
from ltx_core.adapters.lycoris_layout import extra_work, lycoris_layers, most_in_a_block, num_weights
from ltx_core.engine.options import EngineOptions, LayerChoice
from ltx_core.errors import ConfigError
from ltx_core.memory.plan import GIB, Plan, plan
from ltx_core.memory.training import AdapterWork, Training, TrainingStep
from ltx_core.memory.transformer import BatchShape, Shapes, linear_shapes, model_sizes
from ltx_core.shapes import PixelShape, audio_latent_frames
from ltx_core.training.adapter_settings import OF_AUDIO_LAYERS
from ltx_core.training.config import TrainSettings

if TYPE_CHECKING:
    from ltx_core.distributed.ranks import Ranks


def lora_ranks(linear: Sequence[str], settings: TrainSettings) -> dict[str, int]:
    """Rank of the plain LoRA in each layer that it changes, of the linear layers named `linear`.

    Raises:
        ConfigError: targets that match no layer, or an option for layers of which none is trained.
    """
    layers = target_layers(linear, settings.lora_targets, only=settings.only_stream, blocks=settings.only_blocks)
    check_streams(layers, settings)
    return {layer: settings.rank_of(stream_of(layer)) for layer in layers}


def check_streams(layers: Iterable[str], settings: TrainSettings) -> None:
    """See that options for the layers of one stream have some among those that are trained.

    Raises:
        ConfigError: one has none.
    """
    trained = {stream_of(layer) for layer in layers}
    for name, stream in OF_AUDIO_LAYERS.items():
        if getattr(settings, name) is not None and stream not in trained:
            raise ConfigError(
                f"{name} is {getattr(settings, name):g} and targets {settings.lora_targets!r} has no layer that it "
                f"is for; leave it out, or add such layers to targets"
            )


def trained_weights(settings: TrainSettings, transformer: Shapes) -> tuple[int, AdapterWork]:
    """Trained weights, and what the adapter's layers take beyond a plain LoRA's.

    Raises:
        ConfigError: targets that match no layer.
    """
    only, blocks = settings.only_stream, settings.only_blocks
    linear = linear_shapes(transformer)
    if settings.lycoris is None:
        ranks = lora_ranks(sorted(linear), settings)
        trained = sum(rank * sum(linear[layer]) for layer, rank in ranks.items())
        if not settings.masks_inputs:
            return trained, AdapterWork()
        return trained, AdapterWork(0, *most_in_a_block({layer: linear[layer][1] for layer in ranks}))
    layers = lycoris_layers(sorted(linear), settings.lycoris, settings.lora_targets, only=only, blocks=blocks)
    check_streams(layers, settings)
    built, video, audio = extra_work(layers, linear)
    return num_weights(layers, linear), AdapterWork(built, video, audio)


def most_ranks(settings: TrainSettings, available: int) -> int:
    """The most ranks, of `available`, that share a step's batches evenly."""
    batches = settings.gradient_accumulation_steps
    return max(size for size in range(1, max(available, 1) + 1) if batches % size == 0)


def check_shares(settings: TrainSettings, ranks: "Ranks") -> None:
    """See that every rank gets as many batches of a step.

    Raises:
        ConfigError: it does not.
    """
    batches = settings.gradient_accumulation_steps
    if batches % ranks.size:
        raise ConfigError(
            f"a step of {batches} batches (gradient_accumulation_steps) cannot be shared evenly by {ranks.size} GPUs; "
            f"set gradient_accumulation_steps to a multiple of {ranks.size}, or memory.num_gpus to a divisor of "
            f"{batches}"
        )


Switch = Literal["auto", "on", "off"]
PLANNED = ("activation_checkpointing", "activation_budget", "activation_offload", "offloaded_blocks")
"""Settings whose `auto` the memory plan replaces for a GPU."""


def engine_options(
    settings: TrainSettings,
    *,
    device: str,
    num_blocks: int,
    folder: Path | None,
    sharded: bool = False,
    layers: LayerChoice | None = None,
) -> EngineOptions:
    """The engine's options for these settings. `auto` compiles and captures graphs on CUDA devices alone. `folder` is
    for `disk`. `auto` of what is planned changes nothing on the CPU; for a GPU the memory plan has replaced it.
    `layers` is what a comparison chose for `low_precision: auto`; until there is one, 8 bits hold weights alone.
    Blocks that are `sharded` among GPUs are gathered by hooks, which neither a compiled block nor a graph takes along.

    Raises:
        ConfigError: graphs without a CUDA device, options that exclude each other, routes or a hook at blocks that are
            not there, or an `auto` that the memory plan has not replaced.
    """
    on_gpu = device.startswith("cuda")
    settings.check_blocks(num_blocks)  # refused here, before anything is loaded
    if settings.cuda_graphs == "on" and not on_gpu:
        raise ConfigError(f"cuda_graphs is on but the device is {device}; set it to auto or off")
    if sharded:
        _check_sharded(settings)
    compiled = _on(settings.compile_blocks, on_gpu and not sharded)
    from_disk = settings.offload_to == "disk"
    if on_gpu and (unplanned := [name for name in PLANNED if getattr(settings, name) == "auto"]):
        raise ConfigError(f"auto is left in {unplanned}; plan it first (ltx_core.training.plan_settings.planned)")
    offloaded = 0 if settings.offloaded_blocks == "auto" else settings.offloaded_blocks
    chosen = {"products": LayerChoice("all"), "auto": layers}.get(settings.low_precision) or LayerChoice()
    return EngineOptions(
        precision=settings.base_precision,
        products=chosen.products,
        native_layers=chosen.native,
        low_backward=settings.low_precision_backward,
        offloaded_blocks=num_blocks if offloaded == "all" else offloaded,
        offload_folder=folder if from_disk else None,
        activation_checkpointing=0.0
        if settings.activation_checkpointing == "auto"
        else settings.activation_checkpointing,
        activation_budget=1.0 if settings.activation_budget == "auto" else settings.activation_budget,
        activation_offload=0 if settings.activation_offload == "auto" else round(settings.activation_offload * GIB),
        fused=compiled,
        compiled=compiled,
        graphs=_on(settings.cuda_graphs, on_gpu and not from_disk and not sharded),
    )


def _check_sharded(settings: TrainSettings) -> None:
    wrong = {
        "base_precision": settings.base_precision != "native",
        "offloaded_blocks": settings.offloaded_blocks not in (0, "auto"),
        "activation_offload": settings.activation_offload not in (0, "auto"),
        "compile_blocks": settings.compile_blocks == "on",
        "cuda_graphs": settings.cuda_graphs == "on",
        "lycoris.dora_wd": settings.lycoris is not None and settings.lycoris.dora_wd,
    }
    if named := [name for name, given in wrong.items() if given]:
        raise ConfigError(
            f"memory.sharding is full and {', '.join(named)} is set; they exclude each other. Sharding is for a base "
            f"in full precision that fits no GPU: 8-bit weights or block offload need no sharding."
        )


def _on(switch: Switch, automatic: bool) -> bool:
    return automatic if switch == "auto" else switch == "on"


TEXT_TOKENS = 1024
"""Of a context: what the connectors fill captions up to."""
WIDEST_FEATURES = 1536
"""DINOv2 giant's, taken for granted until frames are embedded."""
ITEM_BYTES = {"bf16": 2, "fp32": 4}


@dataclass(frozen=True)
class Bucket:
    """Clips of one shape."""

    shape: PixelShape
    frame_rate: float
    occurrences: int
    """In an epoch; a batch is no larger."""
    reference_tokens: int = 0
    """Of the references that its clips have; 0 without."""

    @property
    def name(self) -> str:
        """As in the rows of clips."""
        return f"{self.shape.width}x{self.shape.height}@{self.shape.frames}"


def bucket_of(name: str, frame_rate: float, occurrences: int, reference_tokens: int = 0) -> Bucket:
    """A bucket from its name `WxH@F`.

    Raises:
        ConfigError: it is no such name.
    """
    width, _, rest = name.partition("x")
    height, _, frames = rest.partition("@")
    if not (width.isdecimal() and height.isdecimal() and frames.isdecimal()):
        raise ConfigError(f"bucket {name!r}; a name such as 832x480@17 is wanted")
    return Bucket(PixelShape(int(frames), int(height), int(width)), frame_rate, occurrences, reference_tokens)


def batch_shape(settings: TrainSettings, bucket: Bucket) -> BatchShape:
    """The largest batch of a bucket. Without audio, one token stands in for it, and without video likewise."""
    hears = settings.modalities != "video"
    seen = settings.modalities != "audio" and bucket.shape.height > 0
    return BatchShape(
        size=min(settings.batch_size, bucket.occurrences),
        video_tokens=bucket.shape.floored().latent().tokens + bucket.reference_tokens if seen else 1,
        audio_tokens=audio_latent_frames(bucket.shape.frames / bucket.frame_rate) if hears else 1,
        text_tokens=TEXT_TOKENS,
        by_token=bool(settings.conditions_by_token or bucket.reference_tokens),
    )


def workload(
    settings: TrainSettings,
    buckets: Sequence[Bucket],
    shapes: Mapping[str, Shapes],
    *,
    shards: int = 1,
    feature_width: int = WIDEST_FEATURES,
) -> TrainingStep:
    """The largest batch of `buckets` on a model whose `transformer` and `connectors` have these shapes.
    `feature_width` is that of the features of frames, where a method compares with them.

    Raises:
        ConfigError: targets that match no layer.
        CheckpointError: these are no transformer's shapes.
    """
    transformer = shapes["transformer"]
    trained, adapter = trained_weights(settings, transformer)
    sizes = model_sizes(transformer, shapes["connectors"])
    methods = settings.method_memory(sizes.width, feature_width)
    return TrainingStep(
        sizes=sizes,
        batch=max((batch_shape(settings, bucket) for bucket in buckets), key=_num_tokens),
        training=Training(
            trained + methods.num_trained,
            settings.optimizer,
            ITEM_BYTES[settings.dtype],
            shards,
            adapter=adapter,
            methods=methods,
        ),
    )


def largest_first(settings: TrainSettings, buckets: Sequence[Bucket]) -> list[Bucket]:
    """Buckets by the video tokens of their largest batch."""

    return sorted(buckets, key=lambda bucket: _num_tokens(batch_shape(settings, bucket)), reverse=True)


def _num_tokens(batch: BatchShape) -> tuple[int, int]:
    """Of the video first, which decide."""
    return batch.size * batch.video_tokens, batch.size * batch.audio_tokens


def planned(
    settings: TrainSettings,
    work: TrainingStep,
    budget_bytes: int,
    host_bytes: int = 0,
    *,
    layers: LayerChoice | None = None,
) -> tuple[TrainSettings, Plan[EngineOptions]]:
    """The settings with every `auto` of the blocks replaced by the fastest that fits `budget_bytes`, and why. So many
    bytes of the host are free for a process.

    Samples never change the activation budget, which rounds: where they take part in a plan, that of the same run
    without them holds.

    Raises:
        OutOfMemory: nothing fits; says what would help.
    """
    if work.samples is not None and settings.activation_budget == "auto":
        bare, _ = planned(settings, replace(work, samples=None), budget_bytes, host_bytes, layers=layers)
        settings = settings.model_copy(update={"activation_budget": bare.activation_budget})
    sharded = work.training.shards > 1
    open_ones = {name for name in PLANNED if getattr(settings, name) == "auto"}
    asked = engine_options(  # nothing recomputed or offloaded where the settings leave that open
        _closed(settings, EngineOptions()),
        device="cuda",
        num_blocks=work.sizes.num_blocks,
        folder=Path("offload"),
        sharded=sharded,
        layers=layers,
    )
    step = replace(
        work,
        asked=asked,
        open=frozenset(open_ones - {"activation_offload", "offloaded_blocks"} if sharded else open_ones),
        host_bytes=host_bytes,
    )
    choice = plan(step, budget_bytes)
    return _closed(settings, choice.options), choice


def _closed(settings: TrainSettings, options: EngineOptions) -> TrainSettings:
    """The settings, with those that are open taken from `options`."""
    chosen = {name: getattr(options, name) for name in PLANNED}
    chosen["activation_offload"] /= GIB
    return settings.model_copy(update={n: found for n, found in chosen.items() if getattr(settings, n) == "auto"})
