"""What a validation configuration may say but likely does not mean."""

from collections.abc import Iterator, Sequence

from ltx_core.shapes import floor_frames
from tasks.motion import says_motion
from tasks.render_config import RenderValidationConfig
from tasks.render_given import small_pictures
from tasks.sampling_config import SamplingConfig
from tasks.shared import Shared

USUAL_GUIDANCE = (2.0, 6.0)
"""Below it renders tend to be noise or to ignore the prompt, above it to be black or burnt."""


def render_notices(config: RenderValidationConfig, shared: Shared) -> Sequence[str]:
    """Guidance of each run, numbers of frames that the VAE does not have, other frame rates than the footage's, prompts
    without motion, pictures that are too small."""
    found = []
    if config.render_without_adapters:
        found += _guidance("render_validation", config)
    for run in config.adapters:
        found += _guidance(f"render_validation.adapters {run.name}", run.over(config))
    frames = floor_frames(config.num_frames)
    if frames != config.num_frames:
        found.append(f"render_validation.num_frames {config.num_frames} becomes {frames}: the VAE takes 8k+1 frames")
    return [*found, *_rates(config, shared), *_still(shared), *small_pictures(config, shared)]


def _rates(config: RenderValidationConfig, shared: Shared) -> Iterator[str]:
    for dataset in shared.datasets:
        rate = dataset.video.frame_rate
        if rate not in ("native", config.frame_rate):
            yield (
                f"dataset {dataset.id} has {rate:g} frames a second and render_validation "
                f"{config.frame_rate:g}: motion may jitter at a rate that was not trained; make them equal"
            )


def _still(shared: Shared) -> Iterator[str]:
    still = [prompt for prompt in shared.prompts.validation if not says_motion(prompt)]
    if still:
        yield (
            f"hint: {len(still)} of {len(shared.prompts.validation)} prompts seem to name no motion, such as "
            f"{still[0][:60]!r}; renders of a prompt that says what moves stand still less often"
        )


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
