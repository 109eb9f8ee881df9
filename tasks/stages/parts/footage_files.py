"""The contents of the footage folders: the part of the world that `probe` observes."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from datasets_spec import DatasetSpec, QuarantineReason
from ltx_core.errors import ChangedError, DataError
from ltx_core.io.digest import DigestMemo, file_digest
from ltx_core.io.regular import is_plain_name, open_regular, shown_name
from ltx_core.media.captions import caption_file
from ltx_core.media.errors import MediaError
from ltx_core.media.find import BESIDE, find_beside, find_media, find_others
from tasks.runtime.workspace import is_own_folder, workspace_around

UNREADABLE, CHANGING = "unreadable", "changing"
"""Instead of the digest of a file that cannot be read now, or that is written while it is read."""


class FileBeside(NamedTuple):
    """A file that belongs to a file of footage."""

    path: Path
    digest: str


@dataclass(frozen=True)
class Source:
    """One media file and the digests of what it and its caption file hold."""

    dataset: DatasetSpec
    path: Path
    relpath: str
    media_digest: str
    caption_digest: str
    beside: Mapping[str, tuple[FileBeside, ...]] = field(default_factory=dict)
    """Of each kind that the dataset has a folder of, those that bear its name; one is wanted, or one at most."""


Beside = dict[str, dict[str, list[Path]]]
"""Files beside those of footage, by kind and by the name of their file; none of them was opened."""


def find_files(dataset: DatasetSpec) -> tuple[list[Path], Beside]:
    """Return the contents of a dataset's folders: media in order of the relative path, and what lies beside them.

    Raises:
        DataError: a folder is missing, or lies in a workspace, or there is no media.
    """
    root = dataset.instance_data_dir
    if not root.is_dir():
        raise DataError(
            f"dataset {dataset.id!r}: {root} is {'a file' if root.exists() else 'not there'}; "
            f"set instance_data_dir to the folder that holds the footage"
        )
    for option, folder in folders_of(dataset).items():
        if workspace := workspace_around(folder.resolve()):
            raise DataError(
                f"dataset {dataset.id!r}: {option} {folder} lies in the workspace {workspace}, whose own results would "
                f"become footage; set it to a folder outside"
            )
    found = media_files(dataset)
    if not found:
        if dataset.dataset_type == "audio":
            raise DataError(
                f"dataset {dataset.id!r}: no audio under {root}; put audio files (.wav, .flac, .mp3, .ogg, .opus, "
                f".m4a) or videos there, or set instance_data_dir to the folder that holds them"
            )
        raise DataError(
            f"dataset {dataset.id!r}: no media files under {root}; put videos (.mp4, .mov, .webm, .mkv) or images "
            f"(.png, .jpg, .webp) there, or set instance_data_dir to the folder that holds them"
        )
    return found, {kind: _beside(dataset, kind, folder) for kind, folder in folders_beside(dataset).items()}


def folders_beside(dataset: DatasetSpec) -> dict[str, Path]:
    """The folder of each kind of files beside the footage that a dataset has one for."""
    folders = {
        "sound": dataset.audio.audio_dir,
        "mask": dataset.mask_dir,
        "reference": None if dataset.reference is None else dataset.reference.reference_dir,
        "audio reference": dataset.audio.reference_dir,
    }
    return {kind: folder for kind, folder in folders.items() if folder is not None}


def _beside(dataset: DatasetSpec, kind: str, folder: Path) -> dict[str, list[Path]]:
    return find_beside(folder, BESIDE[kind], among=folder == dataset.instance_data_dir, left_out=is_own_folder)


def media_files(dataset: DatasetSpec) -> list[Path]:
    """Return the videos and images of a dataset, masks and references left out; none where its folder is not there."""
    root = dataset.instance_data_dir
    found = _all_media(dataset) if root.is_dir() else []
    return [path for path in found if not _is_beside(path, dataset)]


def _all_media(dataset: DatasetSpec) -> list[Path]:
    """Masks and references among them."""
    return find_media(dataset.instance_data_dir, is_own_folder, audio=dataset.dataset_type == "audio")


def find_sources(dataset: DatasetSpec, memo: DigestMemo) -> Iterator[Source]:
    """Every media file of a dataset, in order of its relative path. Unchanged files are not read again.

    Raises:
        DataError: as for `find_files`.
    """
    root = dataset.instance_data_dir
    found, beside = find_files(dataset)
    for path in found:
        relpath = path.relative_to(root)
        name = relpath.with_suffix("").as_posix()
        if not is_plain_name(path):  # nothing can store the name, so nothing is read; probe says so
            yield Source(dataset, path, shown_name(relpath), UNREADABLE, UNREADABLE)
            continue
        yield Source(
            dataset,
            path,
            relpath.as_posix(),
            _digest(path, memo),
            caption_digest(dataset, path),
            {
                kind: tuple(FileBeside(one, _digest(one, memo)) for one in files.get(name, ()))
                for kind, files in beside.items()
            },
        )


def folders_of(dataset: DatasetSpec) -> dict[str, Path]:
    """Every folder that a dataset is searched for in, by its option."""
    beside = {BESIDE[kind].option: folder for kind, folder in folders_beside(dataset).items()}
    return {"instance_data_dir": dataset.instance_data_dir} | beside


def workspaces_in(folder: Path) -> list[Path]:
    """Workspaces at or below a folder, which are left out when it is searched."""
    found = []
    for place, subfolders, _ in os.walk(folder):
        own = [name for name in subfolders if is_own_folder(Path(place, name))]
        found += [Path(place)] if own else []
        subfolders[:] = [name for name in subfolders if name not in own and not name.startswith(".")]
    return found


def ignored_files(dataset: DatasetSpec) -> dict[str, list[Path]]:
    """Return the files in a dataset's folder that are not used, by suffix."""
    root = dataset.instance_data_dir
    if not root.is_dir():
        return {}
    known = set(_all_media(dataset))
    if dataset.caption_strategy == "textfile":
        known |= {caption_file(path) for path in known}
    for kind, folder in folders_beside(dataset).items():
        if folder.is_dir():
            known |= {path for paths in _beside(dataset, kind, folder).values() for path in paths}
    return find_others(root, known, is_own_folder)


def footage_digests(dataset: DatasetSpec, memo: DigestMemo) -> dict[str, Any]:
    """Digests of a dataset's files and of what lies beside them, by file, so that a plan can name what changed; and its
    folders, since rows say where files lie. A digest of a caption that there is not is `none`."""
    files = {}
    for source in find_sources(dataset, memo):
        parts = {"media": source.media_digest, "caption": source.caption_digest}
        for kind, beside in source.beside.items():
            parts |= {f"{kind} {one.path.name}": one.digest for one in beside}
        files[source.relpath] = parts
    return {"folders": {option: str(folder) for option, folder in folders_of(dataset).items()}, "files": files}


def _is_beside(path: Path, dataset: DatasetSpec) -> bool:
    """True if a video in the footage's folder is a mask or a reference of another, or is heard beside another."""
    root, ending = dataset.instance_data_dir, path.stem.lower().endswith
    return any(
        path.is_relative_to(folder) and (folder != root or (BESIDE[kind].ending and ending(BESIDE[kind].ending)))
        for kind, folder in folders_beside(dataset).items()
        if kind != "sound"
    )


def _digest(path: Path, memo: DigestMemo) -> str:
    try:
        return memo.get(path)
    except ChangedError:  # probe quarantines both and says why
        return CHANGING
    except OSError:
        return UNREADABLE


def not_read(path: Path, digest: str) -> MediaError:
    """Why a file has `UNREADABLE` or `CHANGING` for its digest."""
    if digest == CHANGING:
        return MediaError(QuarantineReason.CHANGED, f"{path} is still being written; run again when all of it is there")
    if not is_plain_name(path):
        why = f"the name of {shown_name(path)} is not UTF-8, so that no table can hold it; rename it"
        return MediaError(QuarantineReason.UNREADABLE, why)
    try:
        with open_regular(path):
            why = "it could not be read a moment ago; run again"
    except OSError as error:
        why = f"{error.strerror}; check that it exists, is a file, and its permissions"
    return MediaError(QuarantineReason.UNREADABLE, f"{path} cannot be read: {why}")


def caption_digest(dataset: DatasetSpec, path: Path) -> str:
    """Captions are small and edited often, with tools that keep times: they are read every time."""
    caption = caption_file(path)
    if dataset.caption_strategy != "textfile":
        return ""
    try:
        return file_digest(caption) if caption.exists() else "none"
    except OSError:
        return UNREADABLE
