"""What the encoding stages share: what the pool holds is taken from there, the rest is encoded into new shards."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from datasets_spec import Clip, Frames, Latent, Quarantined
from ltx_core.files.lock import folder_lock
from ltx_core.media.errors import MediaError
from ltx_core.pool.index import Entry, mended_index
from ltx_core.pool.writer import ShardWriter
from ltx_core.progress import stop_if_asked
from tasks.loading import loading
from tasks.shards import note_folder
from tasks.stage import Outcome
from tasks.stage_run import StageRun

Item = TypeVar("Item")
Refused = dict[str, MediaError]
"""Why items cannot be encoded, by key."""


@dataclass(frozen=True)
class Encoded:
    """One item's sample: `tensors` gives it, called on the writer's thread; `info` is what rows say of it."""

    key: str
    tensors: Callable[[], Mapping[str, Any]]
    info: Mapping[str, Any]


Encode = Callable[[Mapping[str, Item], Mapping[str, Entry], Refused], Generator[Encoded, None, None]]
"""`encode(missing, known, refused)`: samples of the missing items, given what is known; those that cannot be encoded go
to `refused` instead."""


@dataclass(frozen=True)
class Samples:
    """What the pool holds of the items asked for, how many of them were encoded now, and what could not be."""

    entries: Mapping[str, Entry]
    computed: int
    refused: Refused


def encode_missing(
    run: StageRun,
    folder: Path,
    items: Mapping[str, Item],
    encode: Encode[Item],
    *,
    total: int,
    unit: str,
    fits: Callable[[Item, Entry], bool] = lambda _item, _entry: True,
) -> Samples:
    """Encode what `folder`, of the pool, lacks of `items`, by key; all of them if the run is forced.

    Args:
        run: The stage's run, which is told how far it is.
        folder: Where the shards lie, and those that are written go; one process at a time.
        items: What is wanted, by the key of its sample.
        encode: See `Encode`.
        total: Of how many items `run` is told; several may have one key.
        unit: What people call an item, in the plural.
        fits: Whether a sample that is there is the one that is wanted.

    Raises:
        Stopped: the run was asked to stop; what was encoded is kept.
        StorageError: the disk is full; what was encoded is kept.
    """
    note_folder(run, folder)
    with folder_lock(folder, run.progress):
        index = mended_index(folder, run.memo, run.progress, f"its {unit} are encoded again")
        known = {} if run.force else dict(index.entries)
        missing = {key: item for key, item in items.items() if key not in known or not fits(item, known[key])}
        refused: Refused = {}
        if not missing:
            return Samples(known, 0, refused)
        encoded = encode(missing, known, refused)
        made = _write(run, folder, encoded, refused, done=total - len(missing), total=total, unit=unit)
        fitting = {key: entry for key, entry in known.items() if key not in missing}
        return Samples(fitting | made, len(made), refused)


def _write(
    run: StageRun,
    folder: Path,
    encoded: Generator[Encoded, None, None],
    refused: Refused,
    *,
    done: int,
    total: int,
    unit: str,
) -> dict[str, Entry]:
    with loading():
        from ltx_core.pool.background import BackgroundWriter

    with (
        ShardWriter(folder, run.config.limits()) as writer,
        BackgroundWriter(writer) as store,
        closing(encoded) as samples,
    ):
        for stored, sample in enumerate(samples, start=1):
            stop_if_asked(run.progress, f"encoding {unit}")
            store.add(sample.key, sample.tensors, sample.info)
            run.progress.advance(done + stored + len(refused), total, unit)
        if refused:  # those after the last sample are told of too
            run.progress.advance(total, total, unit)
    return writer.committed


def encode_clips(
    run: StageRun,
    folder: Path,
    keys: Mapping[str, str],
    clips: Sequence[Clip],
    encode: Encode[Clip],
    row: Callable[[Clip, Entry], Latent | Frames],
    *,
    fits: Callable[[Clip, Entry], bool] = lambda _clip, _entry: True,
) -> Outcome:
    """`encode_missing` for a stage that makes a sample of every clip, and what comes of it.

    Args:
        keys: Of samples, by clip id; clips of equal content have one.
        row: Of a clip and its sample.
    """
    items = {keys[clip.clip_id]: clip for clip in reversed(clips)}
    samples = encode_missing(run, folder, items, encode, total=len(clips), unit="clips", fits=fits)
    entries, refused = samples.entries, samples.refused
    rows = [row(clip, entries[key]) for clip in clips if (key := keys[clip.clip_id]) in entries]
    return Outcome(
        rows=rows,
        quarantined=[verdict(clip, refused[key]) for clip in clips if (key := keys[clip.clip_id]) in refused],
        num_in=len(clips),
        num_out=len(rows),
        computed=samples.computed,
        reused=len(rows) - samples.computed,
        unit="clips",
        figures={"mib": sum(row.size for row in rows) / 2**20},
    )


def by_shape(missing: Mapping[str, Clip]) -> list[tuple[str, Clip]]:
    """Keys and clips, those of equal shape together."""
    return sorted(missing.items(), key=lambda pair: (pair[1].bucket, pair[1].clip_id))


def verdict(clip: Clip, error: MediaError) -> Quarantined:
    """Why a clip is quarantined."""
    source = clip.media_id.partition("/")[2]
    return Quarantined(item=clip.clip_id, source=source, reason=error.reason, detail=str(error), path=clip.path)
