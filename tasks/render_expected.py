"""What will be rendered, as far as a configuration says before anything is trained."""

from collections.abc import Sequence

from ltx_core.lora.locate import locate_adapter
from ltx_core.shapes import PixelShape, floor_frames
from tasks.adapter_config import AdapterConfig
from tasks.render_config import RenderValidationConfig
from tasks.shared import Shared
from tasks.stage import Inputs
from tasks.train_memory import known_buckets


def expected_shapes(config: RenderValidationConfig, shared: Shared, inputs: Inputs) -> list[tuple[PixelShape, float]]:
    """Sizes and frame rates of renders: the configured one, and those of clips where clips are rendered."""
    found = [(PixelShape(floor_frames(config.num_frames), config.height, config.width), config.frame_rate)]
    if takes_clips(config):
        found += [(bucket.shape.floored(), bucket.frame_rate) for bucket in known_buckets(shared, inputs)[0]]
    return found


def takes_clips(config: RenderValidationConfig) -> bool:
    """Whether held-out clips are rendered too."""
    counts = (config.image_to_video_clips, config.sound_to_video_clips, config.extend_clips, config.inpaint_clips)
    return any(counts)


def adapter_bytes(adapters: Sequence[AdapterConfig]) -> int:
    """Of the files of a set of adapters, which `prepare` has brought here.

    Raises:
        CheckpointError: one is gone.
    """
    return sum(locate_adapter(adapter.place(here_only=True)).stat().st_size for adapter in adapters)
