"""The sampler's law, against percentiles published by its origin (400 000 draws of ltx-trainer's own code)."""

import math

import pytest
import torch

from ltx_core.flow_matching import (
    SMALLEST_SIGMA,
    SigmaDraws,
    fixed_sigmas,
    logit_normal,
    shift,
    shifted_logit_normal,
    uniform,
)

PERCENTILES = {
    93: (0.1405, 0.4093, 0.6103, 0.7742, 0.9207),
    1024: (0.1689, 0.4713, 0.6692, 0.8163, 0.9377),
}
MEANS = {93: 0.5806, 1024: 0.6266, 4096: 0.7426}


def draws(count: int, seed: int = 0) -> SigmaDraws:
    return SigmaDraws.draw(torch.Generator().manual_seed(seed), count)


@pytest.mark.parametrize("num_tokens", sorted(PERCENTILES))
def test_percentiles_are_those_of_the_reference(num_tokens: int) -> None:
    sigmas = shifted_logit_normal(draws(200_000), num_tokens)
    found = torch.quantile(sigmas, torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95]))
    assert found.tolist() == pytest.approx(PERCENTILES[num_tokens], abs=5e-3)


@pytest.mark.parametrize("num_tokens", sorted(MEANS))
def test_means_are_those_of_the_reference(num_tokens: int) -> None:
    assert shifted_logit_normal(draws(200_000), num_tokens).mean().item() == pytest.approx(MEANS[num_tokens], abs=3e-3)


def test_shift_is_not_clamped() -> None:
    assert shift(1024) == pytest.approx(0.95)
    assert shift(4096) == pytest.approx(2.05)
    assert shift(93) == pytest.approx(0.616634, abs=1e-6)
    assert shift(16320) > 6


def test_one_draw_by_hand() -> None:
    one = SigmaDraws(*(torch.tensor([v], dtype=torch.float64) for v in (0.3, 0.7, 0.5)))
    mean = 0.95

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    low, high = sigmoid(mean - 2.5758), sigmoid(mean + 3.0902)
    assert shifted_logit_normal(one, 1024).item() == pytest.approx((sigmoid(mean + 0.3) - low) / (high - low), abs=1e-6)
    chosen = one._replace(choice=torch.tensor([0.05], dtype=torch.float64))
    assert shifted_logit_normal(chosen, 1024).item() == pytest.approx(1e-3 + 0.999 * 0.7, abs=1e-6)


def test_extreme_draws_stay_inside() -> None:
    normal = torch.tensor([-50.0, -2.5758, 50.0], dtype=torch.float64)
    sigmas = shifted_logit_normal(SigmaDraws(normal, torch.zeros(3), torch.ones(3)), 4096)
    assert bool((sigmas >= SMALLEST_SIGMA * 0.99).all())
    assert bool((sigmas <= 1).all())


def test_uniform_and_logit_normal_have_their_quantiles() -> None:
    """Of a logit-normal, the sigmoid of the normal's: 0.6745 standard deviations either side of the mean."""
    many, quarters = draws(200_000), torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    assert torch.quantile(uniform(many), quarters).tolist() == pytest.approx([0.25, 0.5, 0.75], abs=5e-3)
    expected = torch.sigmoid(torch.tensor([0.5 - 2 * 0.6745, 0.5, 0.5 + 2 * 0.6745])).tolist()
    assert torch.quantile(logit_normal(many, 0.5, 2.0), quarters).tolist() == pytest.approx(expected, abs=5e-3)
    assert logit_normal(many, -10.0, 10.0).min().item() == SMALLEST_SIGMA


def test_fixed_sigmas_are_midpoints() -> None:
    assert fixed_sigmas(4) == [0.125, 0.375, 0.625, 0.875]
