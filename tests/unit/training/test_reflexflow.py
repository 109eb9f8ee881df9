"""ReflexFlow's two losses against plain loops."""

import pytest
import torch
from torch import Tensor

from ltx_core.flow_matching import sample_losses
from ltx_core.training.methods.rollout import reflex_losses

Parts = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.fixture
def parts() -> Parts:
    """Prediction, target, weight, clean: the second of three samples has given tokens, the third nothing to learn."""
    generator = torch.Generator().manual_seed(0)
    prediction, target, clean = (torch.randn(3, 5, 4, generator=generator) for _ in range(3))
    weight = torch.tensor([[1.0] * 5, [0, 0, 1, 1, 1], [0.0] * 5])
    return prediction, target, weight, clean


def by_loop(prediction: Tensor, target: Tensor, clean: Tensor, alpha: float) -> tuple[float, float]:
    """Of one sample's learnt tokens."""
    v, u, b = (x.flatten().double().tolist() for x in (prediction, target, (prediction - clean).abs()))
    norm_v, norm_u = sum(x * x for x in v) ** 0.5, sum(x * x for x in u) ** 0.5
    anti_drift = sum((x / norm_v - y / norm_u) ** 2 for x, y in zip(v, u, strict=True))
    mean = sum(b) / len(b)
    weights = [(1 + alpha * bias / mean) / (1 + alpha) for bias in b]
    assert sum(weights) / len(weights) == pytest.approx(1)
    compensated = sum(w * (x - y) ** 2 for w, x, y in zip(weights, v, u, strict=True)) / len(v)
    return anti_drift, compensated


@pytest.mark.parametrize("alpha", [0.0, 1.0, 7.5])
def test_both_parts_are_the_formulas(alpha: float, parts: Parts) -> None:
    prediction, target, weight, clean = parts
    found = reflex_losses(*parts, alpha=alpha)
    for i in (0, 1):
        learnt = weight[i] > 0
        wanted = by_loop(prediction[i, learnt], target[i, learnt], clean[i, learnt], alpha)
        assert (found.anti_drift[i].item(), found.compensated[i].item()) == pytest.approx(wanted, rel=1e-5)
    assert (found.anti_drift[2].item(), found.compensated[2].item()) == (0, 0)


def test_without_emphasis_or_bias_it_is_the_plain_loss(parts: Parts) -> None:
    prediction, target, weight, _ = parts
    plain = sample_losses(prediction, target, weight)
    torch.testing.assert_close(reflex_losses(*parts, alpha=0).compensated, plain)
    torch.testing.assert_close(reflex_losses(prediction, target, weight, prediction, alpha=3).compensated, plain)


def test_a_token_that_counts_half_is_half_a_token(parts: Parts) -> None:
    """As a mask may say: two that count half, being equal, are one that counts."""
    prediction, target, _, clean = (x[:1] for x in parts)
    twice = [torch.cat([x, x[:, -1:]], dim=1) for x in (prediction, target, clean)]
    halves = torch.tensor([[1.0, 1, 1, 1, 0.5, 0.5]])
    found = reflex_losses(twice[0], twice[1], halves, twice[2], alpha=2)
    wanted = reflex_losses(prediction, target, torch.ones(1, 5), clean, alpha=2)
    torch.testing.assert_close(found, wanted)
    plain = reflex_losses(twice[0], twice[1], halves, twice[2], alpha=0).compensated
    torch.testing.assert_close(plain, sample_losses(twice[0], twice[1], halves))


def test_what_is_given_has_no_part_in_it(parts: Parts) -> None:
    prediction, target, weight, clean = (x.clone() for x in parts)
    found = reflex_losses(prediction, target, weight, clean, alpha=1)
    for x in (prediction, target, clean):
        x[1, :2], x[2] = torch.nan, 1e9
    again = reflex_losses(prediction, target, weight, clean, alpha=1)
    assert all(one.equal(other) for one, other in zip(found, again, strict=True))


def test_emphasis_does_not_fade_with_the_size_of_a_clip(parts: Parts) -> None:
    small = [x[:1] for x in parts]
    large = [x.repeat(1, 100, *(1,) * (x.ndim - 2)) for x in small]
    found, many = (reflex_losses(*of, alpha=2).compensated for of in (small, large))  # type: ignore[misc]  # four tensors
    torch.testing.assert_close(found, many)
    assert abs(found.item() / sample_losses(*small[:3]).item() - 1) > 0.05


def test_gradients_are_finite_and_go_through_the_prediction_alone(parts: Parts) -> None:
    """The bias is measured: a loss of the same weights, held fixed, has the same gradient."""
    prediction, target, weight, clean = parts
    leaf = prediction.clone().requires_grad_()
    reflex_losses(leaf, target, weight, clean, alpha=1).compensated.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad[weight == 0].abs().max() == 0
    bias = (prediction[0] - clean[0]).abs()
    wanted = (1 + bias / bias.mean()) / 2 * 2 * (prediction[0] - target[0]) / bias.numel()
    torch.testing.assert_close(leaf.grad[0], wanted)
    zero = torch.zeros_like(prediction, requires_grad=True)
    sum(part.sum() for part in reflex_losses(zero, target, weight, clean, alpha=1)).backward()  # type: ignore[union-attr]  # tensors
    assert zero.grad is not None
    assert bool(zero.grad.isfinite().all())
