"""AdamW (Loshchilov and Hutter, arXiv 1711.05101) in float32, PyTorch's own."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ltx_core.training.config import TrainSettings

MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class AdamW:
    """Weights and moments in float32: 16 bytes a trained weight, gradient included. One fused kernel on a GPU."""

    moments: tuple[str, ...] = MOMENTS

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], settings: TrainSettings) -> None:
        self.parameters = parameters
        on_gpu = all(parameter.is_cuda for parameter in parameters.values())
        self.inner = torch.optim.AdamW(
            list(parameters.values()),
            lr=settings.learning_rate,
            betas=settings.betas,
            eps=settings.epsilon,
            weight_decay=settings.weight_decay,
            fused=on_gpu,
        )

    def step(self, learning_rate: float) -> None:
        """Update every parameter that has a gradient."""
        for group in self.inner.param_groups:
            group["lr"] = learning_rate
        self.inner.step()

    def state(self) -> dict[str, Tensor]:
        """Moments as `<parameter>.<moment>`; parameters that never had a gradient have none."""
        return {
            f"{name}.{moment}": self.inner.state[parameter][moment]
            for name, parameter in self.parameters.items()
            if parameter in self.inner.state
            for moment in MOMENTS
        }

    def restore(self, stored: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Put moments back, given by parameter and moment."""
        for name, found in stored.items():
            parameter = self.parameters[name]
            fused = bool(self.inner.defaults["fused"])
            self.inner.state[parameter] = {
                moment: value.to(parameter.device if fused or moment != "step" else "cpu", copy=True)
                for moment, value in found.items()
            }
