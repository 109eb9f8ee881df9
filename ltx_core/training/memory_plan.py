"""What a run's settings and clips mean for the memory plan, and the plan's choices as settings again. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ltx_core.engine.candidates import Workload
from ltx_core.engine.footprint import GIB, BatchShape, Training
from ltx_core.engine.model_sizes import Shapes, model_sizes
from ltx_core.engine.options import EngineOptions, LayerChoice
from ltx_core.engine.plan import Choice, choose
from ltx_core.errors import ConfigError
from ltx_core.shapes import PixelShape, audio_latent_frames
from ltx_core.training.config import TrainSettings
from ltx_core.training.crepa_settings import num_projected
from ltx_core.training.engine import PLANNED, engine_options
from ltx_core.training.trained_weights import trained_weights

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
    visits: int
    """In an epoch; a batch is no larger."""

    @property
    def name(self) -> str:
        """As in the rows of clips."""
        return f"{self.shape.width}x{self.shape.height}@{self.shape.frames}"


def bucket_of(name: str, frame_rate: float, visits: int) -> Bucket:
    """A bucket from its name `WxH@F`.

    Raises:
        ConfigError: it is no such name.
    """
    width, _, rest = name.partition("x")
    height, _, frames = rest.partition("@")
    if not (width.isdecimal() and height.isdecimal() and frames.isdecimal()):
        raise ConfigError(f"bucket {name!r}; a name such as 832x480@17 is wanted")
    return Bucket(PixelShape(int(frames), int(height), int(width)), frame_rate, visits)


def batch_shape(settings: TrainSettings, bucket: Bucket) -> BatchShape:
    """The largest batch of a bucket. Without sound, one token stands in for it."""
    sound = settings.modalities != "video"
    return BatchShape(
        size=min(settings.batch_size, bucket.visits),
        video_tokens=bucket.shape.floored().latent().tokens,
        audio_tokens=audio_latent_frames(bucket.shape.frames / bucket.frame_rate) if sound else 1,
        text_tokens=TEXT_TOKENS,
        by_token=bool(settings.first_frame_probability or settings.prefix_probability),
    )


def workload(
    settings: TrainSettings,
    buckets: Sequence[Bucket],
    shapes: Mapping[str, Shapes],
    *,
    shards: int = 1,
    feature_width: int = WIDEST_FEATURES,
) -> Workload:
    """The largest batch of `buckets` on a model whose `transformer` and `connectors` have these shapes. With CREPA,
    `feature_width` is that of the features of frames.

    Raises:
        ConfigError: targets that match no layer.
        CheckpointError: these are no transformer's shapes.
    """
    transformer = shapes["transformer"]
    trained, adapter = trained_weights(settings, transformer)
    sizes, aligned = model_sizes(transformer, shapes["connectors"]), feature_width if settings.crepa else 0
    if aligned:
        trained += num_projected(sizes.width, aligned)
    return Workload(
        sizes=sizes,
        batch=max((batch_shape(settings, bucket) for bucket in buckets), key=lambda b: b.size * b.video_tokens),
        training=Training(
            trained,
            settings.optimizer,
            ITEM_BYTES[settings.dtype],
            shards,
            aligned_width=aligned,
            adapter=adapter,
            averaged=settings.ema_decay is not None,
            rolls_out=settings.rollout is not None,
        ),
    )


def largest_first(settings: TrainSettings, buckets: Sequence[Bucket]) -> list[Bucket]:
    """Buckets by the video tokens of their largest batch."""

    def tokens(bucket: Bucket) -> int:
        shape = batch_shape(settings, bucket)
        return shape.size * shape.video_tokens

    return sorted(buckets, key=tokens, reverse=True)


def of_bucket(work: Workload, settings: TrainSettings, bucket: Bucket) -> Workload:
    """The same work on the clips of one bucket."""
    return replace(work, batch=batch_shape(settings, bucket))


def asked_options(
    settings: TrainSettings, num_blocks: int, *, sharded: bool = False, layers: LayerChoice | None = None
) -> EngineOptions:
    """What the settings ask of a GPU, with nothing computed again or streamed where they leave that open."""
    return engine_options(
        _closed(settings, EngineOptions()),
        device="cuda",
        num_blocks=num_blocks,
        folder=Path("offload"),
        sharded=sharded,
        layers=layers,
    )


def is_planned(settings: TrainSettings) -> bool:
    """Whether nothing is left open."""
    return all(getattr(settings, name) != "auto" for name in PLANNED)


def planned(
    settings: TrainSettings,
    work: Workload,
    budget_bytes: int,
    host_bytes: int = 0,
    *,
    layers: LayerChoice | None = None,
) -> tuple[TrainSettings, Choice]:
    """The settings with every `auto` of the blocks replaced by the fastest that fits `budget_bytes`, and why. So many
    bytes of the host are free for a process.

    Raises:
        OutOfMemory: nothing fits; says what would help.
    """
    sharded = work.training.shards > 1
    choice = choose(
        work,
        asked_options(settings, work.sizes.num_blocks, sharded=sharded, layers=layers),
        budget_bytes,
        recompute=settings.recompute == "auto",
        budget=settings.activation_budget == "auto",
        offload=settings.activation_offload == "auto" and not sharded,
        host_bytes=host_bytes,
        stream=settings.streamed_blocks == "auto" and not sharded,
    )
    return _closed(settings, choice.options), choice


def _closed(settings: TrainSettings, options: EngineOptions) -> TrainSettings:
    """What is open in the settings as in `options`."""
    chosen = {name: getattr(options, name) for name in PLANNED}
    chosen["activation_offload"] /= GIB
    return settings.model_copy(update={n: found for n, found in chosen.items() if getattr(settings, n) == "auto"})
