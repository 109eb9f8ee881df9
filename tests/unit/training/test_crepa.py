"""CREPA's alignment against plain loops, its projector, its weight by step, its settings."""

import math
import weakref
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ltx_core.errors import ConfigError, ShapeError
from ltx_core.training.config import TrainSettings
from ltx_core.training.methods.crepa import (
    Alignment,
    Crepa,
    alignment,
    batch_alignment,
    crepa_weight,
    make_projector,
    project,
    smoothed,
)
from ltx_core.training.methods.settings import CrepaSettings, num_projected
from ltx_core.training.plan_settings import engine_options


def cosine(left: Tensor, right: Tensor) -> float:
    return (left @ right / (left.norm() * right.norm())).item()


def by_loops(states: Tensor, features: Tensor, weight: Tensor, chosen: CrepaSettings) -> tuple[float, float]:
    """Score and self-similarity of one clip, [F, P, D] each and [F, P], straight from the definition."""
    num_frames, num_places = weight.shape
    counted = [f for f in range(num_frames) if any(weight[f] > 0)]

    def similarity(f: int, g: int) -> float:
        places = [p for p in range(num_places) if weight[f, p] > 0]
        if not chosen.spatial_align:
            return cosine(torch.stack([states[f, p] for p in places]).mean(0), features[g].mean(0))
        return sum(cosine(states[f, p], features[g, p]) for p in places) / len(places)

    def frame(f: int) -> float:
        far = chosen.adjacent_distance
        distances = range(1, far + 1) if chosen.cumulative_neighbors else [far] if far else []
        neighbours = [(g, d) for d in distances for g in (f - d, f + d) if 0 <= g < num_frames]
        return similarity(f, f) + sum(math.exp(-d / chosen.adjacent_tau) * similarity(f, g) for g, d in neighbours)

    total = sum(frame(f) for f in counted)
    own = sum(similarity(f, f) for f in counted) / len(counted)
    return total / len(counted) if chosen.normalize_by_frames else total, own


CHOICES: list[dict[str, Any]] = [
    {},
    {"adjacent_distance": 0},
    {"adjacent_distance": 2, "adjacent_tau": 3.0},
    {"adjacent_distance": 3, "cumulative_neighbors": True, "adjacent_tau": 0.7},
    {"adjacent_distance": 9, "cumulative_neighbors": True},
    {"normalize_by_frames": False},
    {"spatial_align": False},
    {"spatial_align": False, "adjacent_distance": 2, "cumulative_neighbors": True, "normalize_by_frames": False},
]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
@given(frames=st.integers(1, 5), places=st.integers(1, 4), left_out=st.integers(0, 12), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_it_is_what_plain_loops_give(
    choice: dict[str, Any], frames: int, places: int, left_out: int, seed: int
) -> None:
    """The first tokens of a clip are left out, as of a prefix; the other clip of the batch has them all."""
    generator = torch.Generator().manual_seed(seed)
    states, features = (torch.randn(2, frames, places, 3, generator=generator).double() for _ in range(2))
    weight = torch.ones(2, frames * places).double()
    weight[0, : min(left_out, frames * places - 1)] = 0
    weight, chosen = weight.view(2, frames, places), CrepaSettings(**choice)
    found = alignment(states, features, weight, chosen)
    for clip in range(2):
        score, own = by_loops(states[clip], features[clip], weight[clip], chosen)
        assert found.score[clip].item() == pytest.approx(score, abs=1e-6)
        assert found.self_similarity[clip].item() == pytest.approx(own, abs=1e-6)


def crepa_of(width: int = 6, features: int = 5, **choice: Any) -> Crepa:
    return Crepa(TrainSettings(crepa=choice), make_projector(width, features, seed=1, device="cpu"))


def aligned(crepa: Crepa, hidden: Tensor, features: Tensor, weight: Tensor) -> Alignment:
    return batch_alignment(crepa.own, crepa.projector, hidden, features, weight)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_projector_is_a_norm_and_a_linear_layer_in_float32() -> None:
    projector = make_projector(64, 5, seed=1, device="cpu")
    norm, linear = torch.nn.LayerNorm(64), torch.nn.Linear(64, 5)
    for name, parameter in projector.items():
        _, layer, part = name.split(".")
        getattr({"norm": norm, "linear": linear}[layer], part).data = parameter.data
    hidden = (random(2, 3, 64) * 7 + 2).bfloat16()
    assert project(projector, hidden).equal(linear(norm(hidden.float())))
    assert {parameter.dtype for parameter in projector.values()} == {torch.float32}
    stored = {name: parameter.bfloat16() for name, parameter in projector.items()}
    assert project(stored, hidden).dtype == torch.float32


def test_the_projector_starts_from_the_seed_alone() -> None:
    torch.manual_seed(3)
    one, again, other = (make_projector(6, 5, seed=seed, device="cpu") for seed in (1, 1, 2))
    assert all(one[name].equal(again[name]) for name in one)
    assert not one["crepa_projector.linear.weight"].equal(other["crepa_projector.linear.weight"])
    assert one["crepa_projector.linear.weight"].abs().max() <= 6**-0.5


def test_within_a_route_the_tokens_it_keeps_are_compared_at_their_own_places() -> None:
    crepa, hidden, features = crepa_of(), random(2, 8, 6), random(2, 4, 2, 5, seed=1)
    kept = torch.tensor([[7, 0, 3], [1, 2, 5]])
    seen = torch.stack([hidden[clip, kept[clip]] for clip in range(2)])
    found = batch_alignment(crepa.own, crepa.projector, seen, features, torch.ones(2, 8), kept)
    states = project(crepa.projector, hidden).view(2, 4, 2, 5)
    for clip in range(2):
        weight = torch.zeros(8)
        weight[kept[clip]] = 1
        score, own = by_loops(states[clip], features[clip], weight.view(4, 2), crepa.own)
        assert found.score[clip].item() == pytest.approx(score, abs=1e-5)
        assert found.self_similarity[clip].item() == pytest.approx(own, abs=1e-5)


def test_given_tokens_are_asked_nothing_and_get_no_gradient() -> None:
    crepa, features = crepa_of(), random(1, 3, 2, 5)
    hidden, weight = random(1, 6, 6).requires_grad_(), torch.tensor([[0.0, 0, 1, 1, 1, 1]])
    batch_alignment(crepa.own, crepa.projector, hidden, features, weight).score.sum().backward()
    assert hidden.grad is not None
    assert hidden.grad[:, :2].eq(0).all()
    assert hidden.grad[:, 2:].ne(0).any(dim=2).all()


def test_features_of_given_frames_count_as_neighbours() -> None:
    crepa, hidden, weight = crepa_of(), random(1, 4, 6), torch.tensor([[0.0, 0, 1, 1]])
    features = random(1, 2, 2, 5)
    other = features.clone()
    other[:, 0] += 1
    scores = [batch_alignment(crepa.own, crepa.projector, hidden, found, weight) for found in (features, other)]
    assert scores[0].score != scores[1].score
    assert scores[0].self_similarity == scores[1].self_similarity


def test_a_clip_of_which_nothing_counts_scores_zero_without_gradient() -> None:
    hidden = random(1, 4, 6).requires_grad_()
    found = aligned(crepa_of(), hidden, random(1, 2, 2, 5), torch.zeros(1, 4))
    found.score.sum().backward()
    assert found.score.item() == 0
    assert hidden.grad is not None
    assert hidden.grad.eq(0).all()


def test_features_of_another_shape_are_told() -> None:
    with pytest.raises(ShapeError, match=r"\[1, 2, 3, 5\] do not fit \[1, 4\] video tokens"):
        aligned(crepa_of(), random(1, 4, 6), random(1, 2, 3, 5), torch.ones(1, 4))


@pytest.mark.parametrize(
    ("choice", "weights"),
    [
        ({}, [0.5] * 6),
        ({"warmup_steps": 2}, [0.25, 0.5, 0.5, 0.5, 0.5, 0.5]),
        ({"cutoff_step": 3}, [0.5, 0.5, 0.5, 0, 0, 0]),
        ({"schedule": "linear"}, [0.5 * (1 - n / 6) for n in range(6)]),
        ({"schedule": "linear", "decay_steps": 2, "end_weight": 0.1}, [0.5, 0.3, 0.1, 0.1, 0.1, 0.1]),
        ({"schedule": "linear", "warmup_steps": 2, "decay_steps": 2}, [0.25, 0.5, 0.5, 0.25, 0, 0]),
        ({"schedule": "cosine", "decay_steps": 2}, [0.5, 0.25, 0, 0, 0, 0]),
        ({"schedule": "polynomial", "decay_steps": 2}, [0.5, 0.125, 0, 0, 0, 0]),
        ({"schedule": "polynomial", "decay_steps": 2, "polynomial_power": 3}, [0.5, 0.0625, 0, 0, 0, 0]),
    ],
    ids=str,
)
def test_the_weight_by_step(choice: dict[str, Any], weights: list[float]) -> None:
    run = TrainSettings(steps=6, crepa=choice)
    assert [crepa_weight(step, run) for step in range(6)] == pytest.approx(weights)
    assert crepa_weight(0, TrainSettings()) == 0


def test_a_similarity_that_is_high_enough_ends_it() -> None:
    run = TrainSettings(steps=6, crepa={"similarity_threshold": 0.5})
    assert [crepa_weight(1, run, similarity) for similarity in (None, 0.4, 0.5, 0.6)] == [0.5, 0.5, 0, 0]
    assert crepa_weight(1, TrainSettings(crepa={}), 1.0) == 0.5
    assert smoothed(None, None) is None
    assert smoothed(None, 0.2) == 0.2
    assert smoothed(0.2, None) == 0.2
    assert smoothed(0.2, 0.4) == pytest.approx(0.202)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decay_steps": 3}, "does not fall"),
        ({"end_weight": 0.1}, "does not fall"),
        ({"schedule": "cosine", "end_weight": 0.6}, "above weight 0.5"),
        ({"schedule": "cosine", "polynomial_power": 3}, "use 'polynomial'"),
        ({"warmup_steps": 5, "cutoff_step": 5}, "end the warmup before it"),
        ({"cumulative_neighbors": True}, "2 or more"),
        ({"warmup_steps": 11}, r"crepa.warmup_steps is 11 but steps 10"),
        ({"cutoff_step": 11}, r"crepa.cutoff_step is 11 but steps 10"),
        ({"weight": 0}, "greater than 0"),
        ({"wieght": 1}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainSettings(steps=10, crepa=changes)


def test_a_block_that_is_not_there_is_refused_before_anything_is_loaded() -> None:
    ask = {"device": "cpu", "folder": None}
    engine_options(TrainSettings(crepa={"block_index": 3}), num_blocks=4, **ask)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="blocks 0 to 3"):
        engine_options(TrainSettings(crepa={"block_index": 4}), num_blocks=4, **ask)  # type: ignore[arg-type]


def test_without_it_settings_are_named_as_before_there_was_any() -> None:
    assert "crepa" not in TrainSettings().model_dump()
    assert TrainSettings().digest() == TrainSettings(crepa=None).digest()
    named = {TrainSettings(crepa=crepa).digest() for crepa in (None, {}, {"weight": 0.4}, {"block_index": 7})}
    assert len(named) == 4
    again = TrainSettings.model_validate(TrainSettings(crepa={"weight": 0.4}).model_dump(mode="json"))
    assert again == TrainSettings(crepa={"weight": 0.4})


def test_every_option_is_described() -> None:
    assert all(field.description for field in CrepaSettings.model_fields.values())


class Peak(TorchDispatchMode):
    """Counts the bytes of all tensors made inside that live at once; `given` were there before."""

    def __init__(self, given: list[Tensor]) -> None:
        super().__init__()
        self.live, self.highest = 0, 0
        self._known = {tensor.untyped_storage()._cdata for tensor in given}

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        place, size = storage._cdata, storage.nbytes()
        if place not in self._known:
            self._known.add(place)
            self.live += size
            self.highest = max(self.highest, self.live)
            weakref.finalize(storage, self._drop, place, size)

    def _drop(self, place: int, size: int) -> None:
        self._known.discard(place)
        self.live -= size


def test_it_takes_what_the_memory_plan_counts() -> None:
    """Beside the gradients of what is trained, which the plan counts elsewhere."""
    width, places, features = 512, 32, 192
    crepa, hidden = crepa_of(width, features), random(1, 4 * places, width).bfloat16().requires_grad_()
    seen, weight = random(1, 4, places, features).half(), torch.ones(1, 4 * places)
    with Peak([hidden, seen, weight, *crepa.projector.values()]) as peak:
        batch_alignment(crepa.own, crepa.projector, hidden, seen, weight).score.sum().backward()
    gradients = 4 * num_projected(width, features)
    counted = 4 * 4 * places * 3 * (width + features)
    assert 0.75 * counted < peak.highest - gradients < counted
