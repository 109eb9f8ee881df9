"""The header strings of an IC-LoRA, by which Lightricks' pipelines and ComfyUI scale its reference videos. No torch."""

from collections.abc import Iterable
from pathlib import Path

from ltx_core.errors import CheckpointError, ConfigError
from ltx_core.io.safetensors import read_header
from ltx_core.shapes import ReferenceScale

DOWNSCALE, SPATIAL, TEMPORAL = (
    "reference_downscale_factor",
    "reference_spatial_scale_factor",
    "reference_temporal_scale_factor",
)
"""Lightricks' trainer writes the first two alike; its pipelines read the first and the last, as 1 where they are not
there."""


def reference_header(scale: ReferenceScale) -> dict[str, str]:
    """The header strings of a LoRA whose references are smaller than its videos by this."""
    temporal = {TEMPORAL: str(scale.time)} if scale.time > 1 else {}
    return {DOWNSCALE: str(scale.space), SPATIAL: str(scale.space), **temporal}


def scale_of(path: Path) -> ReferenceScale | None:
    """By how much a LoRA file wants its references smaller; None of one that says nothing.

    Raises:
        CheckpointError: the file has no header, or a factor is no whole number of 1 or more.
    """
    metadata = read_header(path).metadata
    found: dict[str, int] = {}
    for name in (DOWNSCALE, SPATIAL, TEMPORAL):
        factor = metadata.get(name)
        if factor is not None and not (factor.isdecimal() and int(factor) >= 1):
            raise CheckpointError(f"{path} has {name} {factor!r} in its header; a whole number of 1 or more is wanted")
        if factor is not None:
            found[name] = int(factor)
    return ReferenceScale(found.get(DOWNSCALE, found.get(SPATIAL, 1)), found.get(TEMPORAL, 1)) if found else None


def common_scale(paths: Iterable[Path]) -> ReferenceScale | None:
    """By how much LoRAs that are used together want references smaller; None if none of them says anything.

    Raises:
        CheckpointError: as for `scale_of`.
        ConfigError: they want different factors.
    """
    scales = {path: scale for path in paths if (scale := scale_of(path)) is not None}
    if len(set(scales.values())) > 1:
        named = ", ".join(f"{path.name} {one.space} in space and {one.time} in time" for path, one in scales.items())
        raise ConfigError(
            f"LoRAs want references that are smaller by different factors ({named}); use one of them at a time"
        )
    return next(iter(scales.values()), None)
