"""Which source files are held out for the eval loss: by hash of their bytes, so that adding files moves no other."""

from collections.abc import Sequence

from datasets_spec.rows import Clip, Split
from ltx_core.files.digest import text_digest

MIN_SOURCES = 4
"""From this many files on, one is held out even if chance picked none."""


def eval_split(media_key: str, fraction: float) -> Split:
    """The side of a file, by its bytes alone; `fraction` of all files, in the long run, is held out."""
    return "eval" if _draw(media_key) < fraction else "train"


def assign_splits(clips: Sequence[Clip], fraction: float) -> list[Clip]:
    """The clips in their order, each with the side of its source file.

    All clips of a file, and files of equal bytes, are on one side. With a fraction over 0 and at least `MIN_SOURCES`
    different files, at least one is held out; below 1, at least one is trained on.
    """
    keys = sorted({clip.media_key for clip in clips}, key=lambda key: (_draw(key), key))
    held_out = {key for key in keys if eval_split(key, fraction) == "eval"}
    if fraction > 0 and not held_out and len(keys) >= MIN_SOURCES:
        held_out = {keys[0]}
    if keys and len(held_out) == len(keys) and fraction < 1:
        held_out.remove(keys[-1])
    return [clip.model_copy(update={"split": "eval" if clip.media_key in held_out else "train"}) for clip in clips]


def _draw(media_key: str) -> float:
    """A number in [0, 1) that only the key decides."""
    return int(text_digest("eval split", media_key)[:13], 16) / 16**13
