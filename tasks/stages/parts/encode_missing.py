"""The common part of the encoding stages: items of the store are reused, the rest is encoded into new shards."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from datasets_spec import Clip, Frames, Latent, Quarantined, QuarantineReason
from datasets_spec.options import ConfigModel
from ltx_core.io.json_file import write_json
from ltx_core.io.lock import folder_lock
from ltx_core.media.errors import MediaError
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
        quarantined=[verdict(clip, refused[key]) for clip in clips if (key := keys[clip.clip_id]) in refused],
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


def verdict(clip: Clip, error: MediaError) -> Quarantined:
    """Why a clip is quarantined."""
    source = clip.media_id.partition("/")[2]
    return Quarantined(item=clip.clip_id, source=source, reason=error.reason, detail=str(error), path=clip.path)
