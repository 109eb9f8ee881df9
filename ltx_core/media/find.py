"""The search for footage in a folder, and for the audio files and masks that belong to it."""

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from ltx_core.errors import DataError

VIDEO_SUFFIXES = frozenset(
    {
        *(".264", ".265", ".3g2", ".3gp", ".asf", ".avi", ".dif", ".divx", ".dv", ".f4v", ".flv", ".h264", ".h265"),
        *(".hevc", ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov"),
        *(".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".qt", ".tp", ".trp", ".ts"),
        *(".vob", ".webm", ".wmv"),
    }
)
"""Suffixes of video containers, lower case; whether the bytes are video is for `probe` to say."""

IMAGE_SUFFIXES = frozenset({".gif", ".jpeg", ".jpg", ".png", ".webp"})
"""Suffixes of images that are read, lower case; a GIF, PNG or WebP may be animated."""
OTHER_IMAGES = frozenset({".avif", ".bmp", ".dng", ".heic", ".heif", ".jxl", ".tif", ".tiff"})
"""Suffixes of images that are not, lower case."""

AUDIO_SUFFIXES = frozenset({".aac", ".flac", ".m4a", ".mka", ".mp3", ".oga", ".ogg", ".opus", ".wav", ".weba"})
"""Suffixes of audio alone, lower case."""

BESIDE_SUFFIXES = VIDEO_SUFFIXES | {".jpeg", ".jpg", ".png", ".webp"}
"""Suffixes of masks and references, lower case."""


class Kind(NamedTuple):
    """Files that belong to files of footage, by their names."""

    option: str
    """Names their folder."""
    plural: str
    suffixes: frozenset[str]
    ending: str = ""
    """NAME and this is such a file of the file NAME wherever it lies; without, NAME itself in a folder of theirs."""


BESIDE = {
    "sound": Kind("audio.audio_dir", "audio files", AUDIO_SUFFIXES),
    "audio reference": Kind("audio.reference_dir", "audio files", AUDIO_SUFFIXES),
    "mask": Kind("mask_dir", "masks", BESIDE_SUFFIXES, "_mask"),
    "reference": Kind("reference.reference_dir", "references", BESIDE_SUFFIXES, "_reference"),
}

LeftOut = Callable[[Path], bool]
"""True if a folder is nobody's footage, with all it holds."""


def nothing(_folder: Path) -> bool:
    """For a search that leaves no folder out."""
    return False


def find_media(root: Path, left_out: LeftOut = nothing, *, audio: bool = False) -> list[Path]:
    """Every file under `root` with the suffix of a video or an image, in any case, sorted by path with slashes; with
    `audio`, of a video or of audio.

    Names that begin with a dot are skipped, with all they hold (macOS leaves `._clip.mp4` beside `clip.mp4`). Links to
    files count, dangling ones too, so that `probe` can say what is wrong with them; links to folders are not entered.

    Raises:
        DataError: `root` is not a folder.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; footage is searched in one. Correct `instance_data_dir`.")
    return _files(root, VIDEO_SUFFIXES | (AUDIO_SUFFIXES if audio else IMAGE_SUFFIXES), left_out)


def is_image(path: Path) -> bool:
    """Return whether a file is an image, still or animated, by its name."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def find_beside(root: Path, kind: Kind, *, among: bool = False, left_out: LeftOut = nothing) -> dict[str, list[Path]]:
    """Every file of a kind under `root`, as `find_media` finds videos, by the relative path of its file of footage
    without the suffix: NAME and the kind's ending and, unless they lie `among` the footage, NAME alone too.

    Raises:
        DataError: `root` is not a folder.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; {kind.plural} are searched in one. Correct `{kind.option}`.")
    found: dict[str, list[Path]] = {}
    for path in _files(root, kind.suffixes, left_out):
        name = path.relative_to(root).with_suffix("").as_posix()
        if name.lower().endswith(kind.ending):
            found.setdefault(name[: len(name) - len(kind.ending)], []).append(path)
        elif not among:
            found.setdefault(name, []).append(path)
    return found


def is_video(path: Path) -> bool:
    """Return whether a mask or a reference is a video, by its name."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def find_others(root: Path, known: Collection[Path], left_out: LeftOut = nothing) -> dict[str, list[Path]]:
    """Return the files under `root` that are not `known`, by their suffix in lower case, or an empty string; hidden
    ones, and what is no file, left out."""
    found: dict[str, list[Path]] = {}
    for path in sorted(_all_files(root, left_out)):
        if path not in known and path.is_file():
            found.setdefault(path.suffix.lower(), []).append(path)
    return dict(sorted(found.items()))


def _files(root: Path, suffixes: Collection[str], left_out: LeftOut) -> list[Path]:
    found = [path for path in _all_files(root, left_out) if path.suffix.lower() in suffixes and _is_wanted(path)]
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def _all_files(root: Path, left_out: LeftOut) -> Iterator[Path]:
    """Files that are not hidden and not left out."""
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".") and not left_out(Path(folder, name))]
        shown = (Path(folder, name) for name in names if not name.startswith("."))
        yield from (path for path in shown if not (path.is_symlink() and _leads_into(path, left_out)))


def _leads_into(link: Path, left_out: LeftOut) -> bool:
    """Return whether a link to a file leads into a folder that is left out."""
    return any(left_out(folder) for folder in Path(os.path.realpath(link)).parents)


def _is_wanted(path: Path) -> bool:
    """Pipes and devices, which would never end, are not footage."""
    return path.is_file() or path.is_symlink()
