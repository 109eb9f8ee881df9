"""The registry of training methods: their classes by name, made from the fields of `settings.MethodOptions`; and whose
a trained parameter is, a method's or the adapter's in the layers of a stream."""

from collections.abc import Iterable
from importlib import import_module

from ltx_core.adapters.lora_layout import stream_of
from ltx_core.training.config import TrainSettings
from ltx_core.training.methods.method import Setup, TrainingMethod
from ltx_core.training.methods.settings import ImplementedBy, MethodOptions


def _classes() -> dict[str, type[TrainingMethod]]:
    found: dict[str, type[TrainingMethod]] = {}
    for option, field in MethodOptions.model_fields.items():
        (mark,) = (mark for mark in field.metadata if isinstance(mark, ImplementedBy))
        file, _, name = mark.place.partition(".")
        method: type[TrainingMethod] = getattr(import_module(f"{__package__}.{file}"), name)
        method.option = option
        found[method.name] = method
    return found


METHODS = _classes()
"""Their hooks run in this order."""


def make_methods(setup: Setup) -> tuple[TrainingMethod, ...]:
    """The methods that the settings turn on, at the start of a run."""
    settings = setup.settings
    defaults = type(settings).model_fields
    return tuple(
        method.of(setup)
        for method in METHODS.values()
        if getattr(settings, method.option) != defaults[method.option].default
    )


def method_of(parameter: str) -> str | None:
    """The method that a parameter belongs to; None for the adapter's."""
    return next((name for name in METHODS if parameter.startswith(f"{name}_")), None)


STREAMS = ("video", "audio", "cross")
"""Groups of an adapter's layers."""


def group_of(parameter: str) -> str:
    """Name of the training method that a parameter belongs to, else the stream of its layer."""
    return method_of(parameter) or stream_of(parameter)


def rate_factors(parameters: Iterable[str], settings: TrainSettings) -> dict[str, float]:
    """Learning rate of each parameter relative to `learning_rate`, at every step; 1 for those of methods."""
    return {name: settings.rate_factor(group_of(name)) for name in parameters}
