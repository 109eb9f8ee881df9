"""The header strings of an IC-LoRA, by which Lightricks' pipelines and ComfyUI scale its reference videos. No torch."""

from collections.abc import Iterable
from pathlib import Path

from ltx_core.errors import CheckpointError, ConfigError
from ltx_core.io.safetensors import read_header

DOWNSCALE, SPATIAL, TEMPORAL = (
    "reference_downscale_factor",
    "reference_spatial_scale_factor",
    "reference_temporal_scale_factor",
)
"""Lightricks' trainer writes the first two alike; its pipelines read the first and the last, as 1 where they are not
there."""


def reference_header(factor: int) -> dict[str, str]:
    """The header strings of a LoRA whose references are `factor` times smaller than its videos."""
    return {DOWNSCALE: str(factor), SPATIAL: str(factor)}


def downscale_of(path: Path) -> int | None:
    """By how much a LoRA file wants its references smaller; None of one that says nothing.

    Raises:
        CheckpointError: the file has no header, the factor is no whole number of 1 or more, or the references are to
            have fewer frames, which is not supported.
    """
    metadata = read_header(path).metadata
    temporal, factor = metadata.get(TEMPORAL, "1"), metadata.get(DOWNSCALE, metadata.get(SPATIAL))
    if temporal != "1":
        raise CheckpointError(
            f"{path} has {TEMPORAL} {temporal!r} in its header; references with fewer frames than their videos are "
            f"not supported"
        )
    if factor is not None and not (factor.isdecimal() and int(factor) >= 1):
        raise CheckpointError(f"{path} has {DOWNSCALE} {factor!r} in its header; a whole number of 1 or more is wanted")
    return None if factor is None else int(factor)


def common_downscale(paths: Iterable[Path]) -> int | None:
    """By how much LoRAs that are used together want references smaller; None if none of them says anything.

    Raises:
        CheckpointError: as for `downscale_of`.
        ConfigError: they want different factors.
    """
    factors = {path: factor for path in paths if (factor := downscale_of(path)) is not None}
    if len(set(factors.values())) > 1:
        raise ConfigError(
            f"LoRAs want references that are smaller by different factors "
            f"({', '.join(f'{path.name} {factor}' for path, factor in factors.items())}); use one of them at a time"
        )
    return next(iter(factors.values()), None)
