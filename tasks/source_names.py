"""Names of a file in its clips: kept apart from what is in its bytes, so that renaming it decodes nothing."""

from datasets_spec import Clip, DatasetSpec, Media, Quarantined
from ltx_core.media.clip import keyed

SOURCE = "(source)"
PLACEHOLDER = {"media_id": SOURCE, "relpath": SOURCE, "path": SOURCE, "caption": SOURCE, "dataset": SOURCE}
"""Stands for what is not in a file's bytes, so that renaming it or editing its caption decodes nothing."""


def named(clip: Clip, row: Media, spec: DatasetSpec) -> Clip:
    """The clip with the names of the file it was found in this time, and that file's mask."""
    start = clip.clip_id.partition("@")[2]
    made = clip.model_copy(
        update={
            "clip_id": f"{row.media_id}@{start}",
            "media_id": row.media_id,
            "dataset": row.dataset,
            "path": row.path,
            "caption": row.caption,
            "repeats": spec.repeats,
            "mask_key": row.mask_key,
            "mask_path": row.mask_path,
        }
    )
    return made if row.mask_key is None else made.model_copy(update={"clip_key": keyed(made)})


def renamed(one: Quarantined, row: Media) -> Quarantined:
    """What is set aside of a file, with the names that the file has this time."""
    start = one.item.partition("@")[2]
    item = f"{row.media_id}@{start}" if start else row.media_id
    return one.model_copy(
        update={
            "item": item,
            "source": row.relpath,
            "path": row.path,
            "detail": one.detail.replace(SOURCE, row.relpath),
        }
    )
