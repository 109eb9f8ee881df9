"""All training methods, by name; their hooks run in this order."""

from ltx_core.training.methods.crepa import Crepa
from ltx_core.training.methods.dropout import Dropout
from ltx_core.training.methods.ema import Ema
from ltx_core.training.methods.method import Setup, TrainingMethod
from ltx_core.training.methods.rollout import Rollout
from ltx_core.training.methods.tread import Tread

METHODS: dict[str, type[TrainingMethod]] = {
    "dropout": Dropout,
    "tread": Tread,
    "rollout": Rollout,
    "crepa": Crepa,
    "ema": Ema,
}


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
