"""The straight path from data to noise. Float32 always: bf16 loses the small steps near sigma 0."""

import torch

from ltx_core.errors import ShapeError


def draw_noise(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Standard normal noise, float32, on the CPU."""
    return torch.randn(shape, generator=generator, dtype=torch.float32)


def add_noise(clean: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """x_sigma = (1 - sigma) x + sigma n. Tokens [B, T, C], sigma [B] or, by token, [B, T].

    Source: Lipman et al., Flow Matching for Generative Modeling (arXiv 2210.02747), the optimal-transport path.

    Raises:
        ShapeError: the shapes do not go together.
    """
    if clean.shape != noise.shape or sigma.shape not in (clean.shape[:1], clean.shape[:2]):
        raise ShapeError(
            f"clean tokens are {list(clean.shape)}, noise {list(noise.shape)}, sigma {list(sigma.shape)}; wanted are "
            f"two equal [B, T, C] and a sigma of [B] or [B, T]"
        )
    level = sigma.float().reshape(*sigma.shape, *(1,) * (clean.ndim - sigma.ndim))
    return (1 - level) * clean.float() + level * noise.float()


def velocity_target(clean: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """What the model should say: d x_sigma / d sigma = n - x, in float32."""
    return noise.float() - clean.float()
