"""Groups of trained parameters: the adapter's by the stream whose layers they change, and those of training methods."""

from collections.abc import Iterable

from ltx_core.adapters.lora_layout import stream_of
from ltx_core.training.config import TrainSettings
from ltx_core.training.methods.registry import method_of

STREAMS = ("video", "audio", "cross")
"""Groups of an adapter's layers."""


def group_of(parameter: str) -> str:
    """Name of the training method that a parameter belongs to, else the stream of its layer."""
    return method_of(parameter) or stream_of(parameter)


def rate_factors(parameters: Iterable[str], settings: TrainSettings) -> dict[str, float]:
    """Learning rate of each parameter relative to `learning_rate`, at every step; 1 for those of methods."""
    return {name: settings.rate_factor(group_of(name)) for name in parameters}
