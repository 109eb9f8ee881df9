"""The adapter that the settings name, on a transformer."""

from typing import Any

from ltx_core.lora.inject import add_lora
from ltx_core.lora.targets import linear_layers, target_modules
from ltx_core.lora.trained import PlainLora, TrainedAdapter
from ltx_core.lycoris.layers import lycoris_layers
from ltx_core.training.config import TrainSettings


def put_on(transformer: Any, settings: TrainSettings) -> TrainedAdapter:
    """Add a fresh adapter; the transformer then does what its base does.

    Raises:
        ConfigError: the settings' targets match no layer.
    """
    video_only = settings.modalities == "video"
    if settings.lycoris is None:
        modules = target_modules(transformer, settings.lora_targets, video_only=video_only)
        add_lora(
            transformer,
            modules,
            rank=settings.rank,
            alpha=settings.lora_alpha,
            seed=settings.seed,
            dropout=settings.dropout,
        )
        return PlainLora(transformer)
    from ltx_core.lycoris.trained import TrainedLycoris  # the library takes seconds to import

    layers = lycoris_layers(linear_layers(transformer), settings.lycoris, settings.lora_targets, video_only=video_only)
    return TrainedLycoris(transformer, layers, seed=settings.seed, multiplier=settings.lycoris.multiplier)
