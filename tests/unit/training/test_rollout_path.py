"""Where rollouts start, and the velocity from where they end."""

import pytest
import torch

from ltx_core.flow_matching import add_noise, velocity_target
from ltx_core.training.methods.rollout import on_straight_path, source_sigma, target_off_path

SIGMA = torch.tensor([0.001, 0.2, 0.5, 0.97, 1.0, 0.0])


def test_a_rollout_starts_noisier_but_no_further_than_what_is_left() -> None:
    found = source_sigma(SIGMA, torch.full_like(SIGMA, 0.1))
    torch.testing.assert_close(found, torch.tensor([0.002, 0.3, 0.6, 1.0, 1.0, 0.0]))
    assert source_sigma(SIGMA, torch.zeros_like(SIGMA)).equal(SIGMA)
    assert source_sigma(SIGMA, torch.ones_like(SIGMA)).max() == 1


def test_the_straight_path_is_found_from_any_of_its_points() -> None:
    clean, noise = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    sigma, at = torch.tensor([0.3, 0.6]), torch.tensor([0.9, 0.61])
    found = on_straight_path(add_noise(clean, noise, sigma), velocity_target(clean, noise), sigma, at)
    torch.testing.assert_close(found, add_noise(clean, noise, at))


def test_on_the_straight_path_the_target_is_noise_minus_data_to_the_bit() -> None:
    straight = torch.randn(6, 3, 4)
    assert target_off_path(straight, torch.zeros_like(straight), SIGMA).equal(straight)


def test_one_exact_step_lands_on_the_data_from_anywhere() -> None:
    clean, noise, drift = (torch.randn(5, 3, 4) for _ in range(3))
    sigma = SIGMA[:5]
    x = add_noise(clean, noise, sigma) + drift
    target = target_off_path(velocity_target(clean, noise), drift, sigma)
    torch.testing.assert_close(x - sigma[:, None, None] * target, clean, rtol=1e-4, atol=1e-5)
    missed = x - sigma[:, None, None] * velocity_target(clean, noise)
    torch.testing.assert_close(missed - clean, drift, rtol=1e-4, atol=1e-5)  # the straight path's target keeps it


@pytest.mark.parametrize("sigma", [1e-3, 0.01, 0.5])
def test_a_velocity_error_comes_back_at_most_as_large(sigma: float) -> None:
    """However short the way that is left."""
    at, error = torch.tensor([sigma]), torch.full((1, 3, 4), 2.0)
    offset = source_sigma(at, torch.ones(1)) - at
    assert target_off_path(torch.zeros(1, 3, 4), offset * error, at).abs().max() <= error.max() * (1 + 1e-6)
