"""Names of a file in its clips: kept apart from what is in its bytes, so that renaming it decodes nothing."""

from datasets_spec import Clip, DatasetSpec, Media, Quarantined

SOURCE = "(source)"
PLACEHOLDER = {"media_id": SOURCE, "relpath": SOURCE, "path": SOURCE, "caption": SOURCE, "dataset": SOURCE}
"""Stands for what is not in a file's bytes, so that renaming it or editing its caption decodes nothing."""


def named(clip: Clip, row: Media, spec: DatasetSpec) -> Clip:
    """The clip with the names of the file it was found in this time."""
    start = clip.clip_id.partition("@")[2]
    return clip.model_copy(
        update={
            "clip_id": f"{row.media_id}@{start}",
            "media_id": row.media_id,
            "dataset": row.dataset,
            "path": row.path,
            "caption": row.caption,
            "repeats": spec.repeats,
        }
    )


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
