"""What a validation configuration may say but likely does not mean."""

from collections.abc import Sequence

from ltx_core.shapes import floor_frames
from tasks.render_config import RenderValidationConfig
from tasks.render_given import small_pictures
from tasks.sampling_config import SamplingConfig
from tasks.shared import Shared

USUAL_GUIDANCE = (2.0, 6.0)
"""Below it renders tend to be noise or to ignore the prompt, above it to be black or burnt."""


def render_notices(config: RenderValidationConfig, shared: Shared) -> Sequence[str]:
    """Guidance of each run, a number of frames that the VAE does not have, pictures that are too small."""
    found = []
    if config.render_without_adapters:
        found += _guidance("render_validation", config)
    for run in config.adapters:
        found += _guidance(f"render_validation.adapters {run.name}", run.over(config))
    frames = floor_frames(config.num_frames)
    if frames != config.num_frames:
        found.append(f"render_validation.num_frames {config.num_frames} becomes {frames}: the VAE takes 8k+1 frames")
    return [*found, *small_pictures(config, shared)]


def _guidance(where: str, sampling: SamplingConfig) -> list[str]:
    low, high = USUAL_GUIDANCE
    if sampling.schedule == "distilled":
        if sampling.video_cfg == 1:
            return []
        return [f"{where}: video_cfg is {sampling.video_cfg:g} with the distilled schedule, which is meant for 1"]
    if low <= sampling.video_cfg <= high:
        return []
    return [
        f"{where}: video_cfg is {sampling.video_cfg:g}; outside {low:g} to {high:g} renders are often black or noise "
        f"whatever was trained (1 is meant for the distilled schedule)"
    ]
