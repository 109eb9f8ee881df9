"""The common part of the encoding stages: items of the store are reused, the rest is encoded into new shards."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, model_validator

from datasets_spec import Clip, Frames, Latent, QuarantineReason
from datasets_spec.options import ConfigModel
from ltx_core.io.json_file import write_json
from ltx_core.io.lock import folder_lock
from ltx_core.media.errors import MediaError
from ltx_core.media.quality import quarantined_clip
from ltx_core.progress import stop_if_asked
from ltx_core.store.shards import Entry, ShardLimits, ShardWriter, mended_index
from tasks.runtime.device import loading
from tasks.runtime.stage import Outcome, StageRun
from tasks.runtime.workspace import STORE_FILE


class ShardConfig(ConfigModel):
    """A crash loses at most the open shard."""

    shard_max_mib: int = Field(default=256, ge=1, le=4096, description="A shard is closed when it reaches this size.")
    shard_max_seconds: float = Field(default=60.0, gt=0, description="A shard is closed after this time.")
    shard_max_samples: int = Field(default=4096, ge=1, description="A shard is closed when it has this many items.")

    def limits(self) -> ShardLimits:
        """As the writer takes them."""
        return ShardLimits(self.shard_max_mib * 2**20, self.shard_max_seconds, self.shard_max_samples)


def note_folder(run: StageRun[Any], folder: Path) -> None:
    """Say in the stage's folder which one of the store it uses; before its lock is taken; see
    `tasks.runtime.collect`."""
    write_json(run.out / STORE_FILE, {"folder": run.workspace.relative(folder)})


class ClipShardConfig(ShardConfig):
    """For a stage that decodes clips."""

    decode_workers: int | None = Field(
        default=None,
        ge=1,
        le=128,
        description="Processes that decode clips ahead of the encoder. Default: one for each core, at most 16.",
    )
    decode_ahead_mib: int = Field(
        default=4096, ge=64, le=2**20, description="Host memory for decoded clips that wait to be encoded."
    )


class EncodeLatentsConfig(ClipShardConfig):
    """Options for encoding clips."""

    dtype: str = Field(
        default="bf16",
        pattern="^(bf16|fp32)$",
        description="Precision of the video VAE. The audio VAE always uses fp32.",
    )
    tile_size: int | None = Field(
        default=None,
        ge=64,
        le=4096,
        multiple_of=32,
        description="Edge of square tiles in pixels, for frames that are too large for the device. Tiles change the "
        "latents, because a tile does not see its neighbours. Try `memory.vae_chunk_frames` first: it "
        "saves more memory and does not change results.",
    )
    tile_overlap: int = Field(
        default=64, ge=32, le=1024, multiple_of=32, description="Smallest overlap of neighbouring tiles, in pixels."
    )
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = Field(
        default="auto",
        description="Clips of equal shape that are encoded at once; results are equal up to rounding. `auto`: "
        "several if they are small.",
    )
    compile: Literal["auto"] | bool = Field(
        default="auto",
        description="Compile the encoder; this changes latents only by rounding. `auto`: on a GPU, for shapes with "
        "so many remaining clips (about 600 of 121x512x768) that it saves more time than it costs.",
    )

    @model_validator(mode="after")
    def _tiles_are_larger(self) -> Self:
        if self.tile_size is not None and self.tile_overlap >= self.tile_size:
            raise ValueError(
                f"tiles of {self.tile_size} pixels cannot overlap by {self.tile_overlap}; make tile_size larger"
            )
        return self


Item = TypeVar("Item")
Refused = dict[str, MediaError]
"""Why items cannot be encoded, by key."""


@dataclass(frozen=True)
class EncodedItem:
    """An item of the store: `tensors` gives what it holds, called on the writer's thread; `info` is what rows say of
    it."""

    key: str
    tensors: Callable[[], Mapping[str, Any]]
    info: Mapping[str, Any]


Encode = Callable[[Mapping[str, Item], Mapping[str, Entry], Refused], Generator[EncodedItem, None, None]]
"""`encode(missing, stored, refused)`: encodes the missing items, and may read those that are stored; those that cannot
be encoded go to `refused` instead."""


@dataclass(frozen=True)
class StoredItems:
    """The items in the store of those asked for, how many of them were encoded now, and those that could not be."""

    entries: Mapping[str, Entry]
    computed: int
    refused: Refused


def encode_missing(
    run: StageRun[ShardConfig],
    folder: Path,
    items: Mapping[str, Item],
    encode: Encode[Item],
    *,
    total: int,
    unit: str,
    fits: Callable[[Item, Entry], bool] = lambda _item, _entry: True,
) -> StoredItems:
    """Encode what `folder`, of the store, lacks of `items`, by key; all of them if the run is forced.

    Args:
        run: The stage's run, whose progress is reported.
        folder: Where the shards lie, and those that are written go; one process at a time.
        items: What is wanted, by the key of its item.
        encode: See `Encode`.
        total: Items that `run` reports progress of; several may have one key.
        unit: What people call an item, in the plural.
        fits: Whether an item that is stored is the one that is wanted.

    Raises:
        Stopped: the run was asked to stop; what was encoded is kept.
        StorageError: the disk is full; what was encoded is kept.
    """
    note_folder(run, folder)
    with folder_lock(folder, run.progress):
        index = mended_index(folder, run.memo, run.progress, f"its {unit} are encoded again")
        stored = {} if run.force else dict(index.entries)
        missing = {key: item for key, item in items.items() if key not in stored or not fits(item, stored[key])}
        refused: Refused = {}
        if not missing:
            return StoredItems(stored, 0, refused)
        encoded = encode(missing, stored, refused)
        made = _write(run, folder, encoded, refused, done=total - len(missing), total=total, unit=unit)
        fitting = {key: entry for key, entry in stored.items() if key not in missing}
        return StoredItems(fitting | made, len(made), refused)


def _write(
    run: StageRun[ShardConfig],
    folder: Path,
    encoded: Generator[EncodedItem, None, None],
    refused: Refused,
    *,
    done: int,
    total: int,
    unit: str,
) -> dict[str, Entry]:
    with loading():
        from ltx_core.store.tensor_items import BackgroundWriter

    with (
        ShardWriter(folder, run.config.limits()) as writer,
        BackgroundWriter(writer) as store,
        closing(encoded) as found,
    ):
        for count, item in enumerate(found, start=1):
            stop_if_asked(run.progress, f"encoding {unit}")
            store.add(item.key, item.tensors, item.info)
            run.progress.advance(done + count + len(refused), total, unit)
        if refused:  # those after the last item count too
            run.progress.advance(total, total, unit)
    return writer.committed


def encode_missing_clips(
    run: StageRun[ShardConfig],
    folder: Path,
    keys: Mapping[str, str],
    clips: Sequence[Clip],
    encode: Encode[Clip],
    row: Callable[[Clip, Entry], Latent | Frames],
    *,
    fits: Callable[[Clip, Entry], bool] = lambda _clip, _entry: True,
) -> Outcome:
    """`encode_missing` for a stage that makes an item of every clip, and what comes of it.

    Args:
        keys: Of items, by clip id; clips of equal content have one.
        row: Of a clip and its item.
    """
    items = {keys[clip.clip_id]: clip for clip in reversed(clips)}
    stored = encode_missing(run, folder, items, encode, total=len(clips), unit="clips", fits=fits)
    entries, refused = stored.entries, stored.refused
    rows = [row(clip, entries[key]) for clip in clips if (key := keys[clip.clip_id]) in entries]
    return Outcome(
        rows=rows,
        quarantined=[
            quarantined_clip(clip, error.reason, str(error))
            for clip in clips
            if (error := refused.get(keys[clip.clip_id])) is not None
        ],
        num_in=len(clips),
        num_out=len(rows),
        computed=stored.computed,
        unit="clips",
        figures={"mib": sum(row.size for row in rows) / 2**20},
    )


def stored_at(entry: Entry, run: StageRun[Any]) -> dict[str, Any]:
    """Where an item lies, for its row."""
    shard = run.workspace.relative(entry.shard)
    return {"sha256": entry.sha256, "shard": shard, "offset": entry.offset, "size": entry.size}


def non_finite(what: str) -> MediaError:
    """The error of a clip of which values are NaN or infinite; `what` is the clip with a verb."""
    return MediaError(QuarantineReason.NON_FINITE, f"{what} NaN or infinity; look at the clip, or use fp32")


def by_shape(missing: Mapping[str, Clip]) -> list[tuple[str, Clip]]:
    """Keys and clips, those of equal shape together."""
    return sorted(missing.items(), key=lambda pair: (pair[1].bucket, pair[1].clip_id))
