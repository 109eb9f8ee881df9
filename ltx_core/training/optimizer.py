"""AdamW over the adapter, and its moments by parameter name, so that they can be stored and put back."""

from collections.abc import Mapping

import torch

from ltx_core.errors import CheckpointError
from ltx_core.training.config import TrainSettings

MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def make_optimizer(parameters: Mapping[str, torch.nn.Parameter], settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101); the loop sets the learning rate before each step."""
    return torch.optim.AdamW(
        list(parameters.values()),
        lr=settings.learning_rate,
        betas=settings.betas,
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
    )


def moments(optimizer: torch.optim.AdamW, parameters: Mapping[str, torch.nn.Parameter]) -> dict[str, torch.Tensor]:
    """Moments as `<parameter>.<moment>`; parameters that never had a gradient have none."""
    return {
        f"{name}.{moment}": optimizer.state[parameter][moment]
        for name, parameter in parameters.items()
        if parameter in optimizer.state
        for moment in MOMENTS
    }


def restore_moments(
    optimizer: torch.optim.AdamW,
    parameters: Mapping[str, torch.nn.Parameter],
    stored: Mapping[str, torch.Tensor],
) -> None:
    """Put stored moments back.

    Raises:
        CheckpointError: they belong to other parameters.
    """
    known = {f"{name}.{moment}" for name in parameters for moment in MOMENTS}
    if foreign := sorted(stored.keys() - known):
        raise CheckpointError(f"optimizer state for {foreign[:3]}, which are not trained; delete that checkpoint")
    for name, parameter in parameters.items():
        found = {moment: stored[f"{name}.{moment}"] for moment in MOMENTS if f"{name}.{moment}" in stored}
        if found and len(found) != len(MOMENTS):
            raise CheckpointError(f"optimizer state of {name} has only {sorted(found)}; delete that checkpoint")
        if found:
            optimizer.state[parameter] = {
                moment: value.clone() if moment == "step" else value.to(parameter.device, copy=True)
                for moment, value in found.items()
            }
