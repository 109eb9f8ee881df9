"""How many weights the settings train, and what else their adapter takes. No torch."""

from ltx_core.engine.footprint import AdapterWork
from ltx_core.engine.model_sizes import Shapes, linear_shapes, num_trained
from ltx_core.lycoris.layers import extra_work, lycoris_layers, num_weights
from ltx_core.training.config import TrainSettings


def trained_weights(settings: TrainSettings, transformer: Shapes) -> tuple[int, AdapterWork]:
    """Trained weights, and what the adapter's layers take beyond a plain LoRA's.

    Raises:
        ConfigError: targets that match no layer.
    """
    video_only = settings.modalities == "video"
    if settings.lycoris is None:
        rank = settings.rank
        return num_trained(transformer, settings.lora_targets, rank=rank, video_only=video_only), AdapterWork()
    linear = linear_shapes(transformer)
    layers = lycoris_layers(sorted(linear), settings.lycoris, settings.lora_targets, video_only=video_only)
    built, video, audio = extra_work(layers, linear)
    return num_weights(layers, linear), AdapterWork(built, video, audio)
