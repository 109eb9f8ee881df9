"""Look at everything in a workspace anew: digests, shapes, whether numbers are finite, whether videos can be decoded.

Nothing is listed by hand: a stage's result says which files belong to it, and every other file says by its kind how it
is checked. Caches of libraries (`cache`) and MLflow's files are theirs.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import chain
from pathlib import Path

from datasets_spec import Clip, Manifest
from datasets_spec.manifest import read_sealed
from ltx_core.errors import DamagedError, LtxError
from ltx_core.io.atomic import find_whole
from ltx_core.io.digest import DigestMemo, file_digest
from ltx_core.io.json_file import read_json
from ltx_core.io.lock import folder_lock
from ltx_core.progress import Progress, stop_if_asked
from ltx_core.store.shards import Entry, read_index
from tasks import STAGES
from tasks.runtime.decide import Damage, find_damage
from tasks.runtime.messages import REQUESTS
from tasks.runtime.workspace import Workspace

LOOKED_AT = ("pool", "runs", "stages")
SAMPLED_CLIPS = 4
"""Clips of a cut that are decoded, at equal distances."""


def verify(workspace: Workspace, progress: Progress) -> Iterator[Damage]:
    """Every file that is not as it should be, each once. Nothing is changed.

    Raises:
        Stopped: asked to stop.
    """
    seen: set[Path] = set()
    for damage in chain(_results(workspace, progress), _files(workspace, progress), _tracking(workspace)):
        if damage.path not in seen:
            seen.add(damage.path)
            yield damage


def repair(workspace: Workspace, damage: Damage, progress: Progress) -> bool:
    """Remove a file of the workspace, so that the next run makes it again. False for what no run can make: footage, and
    what was tracked.

    Waits for whoever works in the file's folder.
    """
    if not any(damage.path.is_relative_to(workspace.root / name) for name in LOOKED_AT):
        return False
    locked = next((folder for folder in damage.path.parents if (folder / ".lock").exists()), None)
    if locked is None:
        damage.path.unlink(missing_ok=True)
        return True
    with folder_lock(locked, progress):
        damage.path.unlink(missing_ok=True)
    return True


def _results(workspace: Workspace, progress: Progress) -> Iterator[Damage]:
    memo = DigestMemo(workspace.root / ".read anew")  # never saved: what is remembered is not believed here
    for stage in STAGES:
        for folder in find_whole(workspace.root / "stages" / stage.name, "*/"):
            stop_if_asked(progress, "verifying")
            manifest = stage.manifest(folder)
            if manifest.exists():
                yield from find_damage(stage, folder, workspace, memo)
                if stage.makes is Clip:
                    yield from _undecodable_clips(manifest)


def _files(workspace: Workspace, progress: Progress) -> Iterator[Damage]:
    files = [f for name in LOOKED_AT for f in find_whole(workspace.root / name, "**/*") if f.parent.name != REQUESTS]
    memo = DigestMemo(workspace.root / ".read anew")
    for done, path in enumerate(files):
        stop_if_asked(progress, "verifying")
        if path.is_file():
            try:
                yield from _checked(path, workspace, memo)
            except LtxError as error:
                yield Damage(path, error.found if isinstance(error, DamagedError) else str(error))
        progress.advance(done + 1, len(files), "files")


def _checked(path: Path, workspace: Workspace, memo: DigestMemo) -> Iterator[Damage]:
    match path.suffix:
        case ".json":
            yield from _vouched_for(path, read_json(path))
        case ".parquet":
            read_sealed(path)
        case ".tar" if path.with_suffix(".parquet").exists():
            yield from _samples(path, workspace, memo)
        case ".safetensors":
            yield from _tensors(path)
        case ".mp4":
            yield from _undecodable(path, path.name)


def _vouched_for(path: Path, content: Mapping[str, object]) -> Iterator[Damage]:
    """Files beside a file of digests: those it lists, or the one whose name it bears."""
    listed = content.get("files")
    digests = dict(listed) if isinstance(listed, Mapping) else {}
    if "digest" in content and path.with_suffix("").suffix:
        digests[path.with_suffix("").name] = content["digest"]
    for name, digest in digests.items():
        file = path.parent / name
        if file.is_file() and file_digest(file) != digest:
            yield Damage(file, f"{file} has other bytes than were written")


def _samples(shard: Path, workspace: Workspace, memo: DigestMemo) -> Iterator[Damage]:
    """A shard's bytes against its index, then each sample's digest, header and numbers."""
    from ltx_core.io.tensors import not_finite
    from ltx_core.store.tensor_items import ShardReader

    index = read_index(shard.parent, memo)
    if shard in index.damaged:
        yield Damage(shard, f"{shard} is damaged: {index.damaged[shard]}")
        return
    reader = ShardReader(workspace.root)
    own: list[Entry] = [entry for entry in index.entries.values() if entry.shard == shard]
    for entry in own:
        tensors = reader.read(workspace.relative(shard), entry.offset, entry.size, entry.sha256)
        if broken := not_finite(tensors.items()):
            yield Damage(shard, f"{shard} holds NaN or infinity in {broken[0]} of the sample {entry.key}")
            return


def _tensors(path: Path) -> Iterator[Damage]:
    from ltx_core.engine.quantised_cache import wrong_sums
    from ltx_core.io.tensors import not_finite, read_tensors

    tensors, metadata = read_tensors(path)
    if broken := not_finite(tensors.items()):
        yield Damage(path, f"{path} holds NaN or infinity in {broken[0]}")
    if broken := wrong_sums(path, tensors, metadata):
        yield Damage(path, f"{path} has other bytes in {broken[0]} than were written")


def _undecodable(path: Path, name: str) -> Iterator[Damage]:
    """True if the first, the middle and the last frame of a video can be decoded."""
    from ltx_core.media.errors import MediaError
    from ltx_core.media.frames import decode_frames
    from ltx_core.media.probe import probe_media

    try:
        info = probe_media(path)
        numbers = sorted({0, info.num_frames // 2, info.num_frames - 1})
        list(decode_frames(path, [(number + 0.25) / info.frame_rate for number in numbers]))
    except MediaError as error:
        yield Damage(path, f"{name} cannot be decoded: {error}")


def _undecodable_clips(manifest: Manifest[Clip]) -> Iterator[Damage]:
    """A few of the clips that were cut, from footage as it lies there now."""
    from ltx_core.media.clip import clip_frames
    from ltx_core.media.errors import MediaError

    try:
        clips = list(manifest)
    except LtxError:
        return  # it is named as damaged already
    for clip in clips[:: max(1, len(clips) // SAMPLED_CLIPS)]:
        try:
            clip_frames(clip)
        except (MediaError, OSError) as error:
            yield Damage(Path(clip.path), f"clip {clip.clip_id} cannot be decoded: {error}")


def _tracking(workspace: Workspace) -> Iterator[Damage]:
    """MLflow's database, by SQLite's own check. It holds what no run can make again, so it is only named."""
    path = workspace.root / "mlflow.db"
    if not path.is_file():
        return
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        yield Damage(path, f"{path} is damaged ({found}); move it away, and tracking begins anew")
