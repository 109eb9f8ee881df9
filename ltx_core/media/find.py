"""Which files of a folder are footage."""

import os
from pathlib import Path

from ltx_core.errors import DataError

VIDEO_SUFFIXES = frozenset(
    {
        *(".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".m2t", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov"),
        *(".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".qt", ".ts", ".vob", ".webm", ".wmv"),
    }
)
"""Suffixes of video containers, lower case; whether the bytes are video is for `probe` to say."""


def find_media(root: Path) -> list[Path]:
    """Every file under `root` with a video suffix in any case, sorted by relative path with forward slashes.

    Names that begin with a dot are skipped, with all they hold (macOS leaves `._clip.mp4` beside `clip.mp4`). Links to
    files count, dangling ones too, so that `probe` can say what is wrong with them; links to folders are not entered.

    Raises:
        DataError: `root` is not a folder.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; footage is searched in one. Correct `instance_data_dir`.")
    found: list[Path] = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        found += [Path(folder, name) for name in names if _is_footage(Path(folder, name))]
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def _is_footage(path: Path) -> bool:
    """By name; pipes and devices, which would never end, are not footage."""
    named = not path.name.startswith(".") and path.suffix.lower() in VIDEO_SUFFIXES
    return named and (path.is_file() or path.is_symlink())
