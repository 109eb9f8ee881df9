"""How many weights the settings train, and what else their adapter takes. No torch."""

from ltx_core.engine.footprint import AdapterWork
from ltx_core.engine.model_sizes import Shapes, linear_shapes, num_trained
from ltx_core.lora.names import target_layers
from ltx_core.lycoris.layers import extra_work, lycoris_layers, most_in_a_block, num_weights
from ltx_core.training.config import TrainSettings


def trained_weights(settings: TrainSettings, transformer: Shapes) -> tuple[int, AdapterWork]:
    """Trained weights, and what the adapter's layers take beyond a plain LoRA's.

    Raises:
        ConfigError: targets that match no layer.
    """
    video_only = settings.modalities == "video"
    linear = linear_shapes(transformer)
    if settings.lycoris is None:
        rank = settings.rank
        trained = num_trained(transformer, settings.lora_targets, rank=rank, video_only=video_only)
        if not settings.dropout:
            return trained, AdapterWork()
        masked = target_layers(sorted(linear), settings.lora_targets, video_only=video_only)
        return trained, AdapterWork(0, *most_in_a_block({layer: linear[layer][1] for layer in masked}))
    layers = lycoris_layers(sorted(linear), settings.lycoris, settings.lora_targets, video_only=video_only)
    built, video, audio = extra_work(layers, linear)
    return num_weights(layers, linear), AdapterWork(built, video, audio)
