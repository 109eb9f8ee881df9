"""Write the declared corpus to a folder, captions beside the files and the broken ones broken as declared."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from ltx_core.files.atomic import atomic_path, write_bytes
from ltx_core.miniature.corpus import DECLARED, Footage
from ltx_core.miniature.mux import write_whole
from ltx_core.progress import SILENT, Progress, stop_if_asked

KEPT_OF_TRUNCATED = 0.6
"""Share of a truncated file's bytes that are left: all of its index, half of its data."""


def write_footage(folder: Path, declared: Iterable[Footage] = DECLARED, progress: Progress = SILENT) -> list[Path]:
    """Write every declared file and its caption below `folder`, replacing what has their names; the media paths.

    Raises:
        StorageError: the disk is full or read-only.
        Stopped: asked to stop; the files written so far are whole.
    """
    declared = list(declared)
    paths = []
    for done, footage in enumerate(declared, 1):
        stop_if_asked(progress, "writing footage")
        path = folder / footage.name
        write_one(footage, path, folder)
        write_bytes(path.with_suffix(".txt"), footage.caption.encode() + b"\n")
        paths.append(path)
        progress.advance(done, len(declared), "files")
    return paths


def write_one(footage: Footage, path: Path, folder: Path) -> None:
    """Write one file as declared; a copy is made from its original, which must be there already."""
    with atomic_path(path) as partial:
        if footage.broken == "empty":
            partial.write_bytes(b"")
        elif footage.copy_of:
            shutil.copyfile(folder / footage.copy_of, partial)
        else:
            write_whole(footage, partial)
        if footage.broken == "truncated":
            data = partial.read_bytes()
            partial.write_bytes(data[: round(len(data) * KEPT_OF_TRUNCATED)])
