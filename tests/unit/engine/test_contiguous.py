"""Tensors end to end in memory are found, whatever lies between, and worked on as one."""

import torch

from ltx_core.engine.contiguous import adjacent, joined, lay_end_to_end, pieces
from ltx_core.training.config import TrainSettings
from ltx_core.training.optimizer import AdamW

SHAPES = [(3, 5), (7,), (2, 2, 2), (4,)]


def parameters() -> dict[str, torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return {f"p{i}": torch.nn.Parameter(torch.randn(s, generator=generator)) for i, s in enumerate(SHAPES)}


def test_parameters_keep_their_values_and_become_one_piece() -> None:
    made, before = list(parameters().values()), list(parameters().values())
    lay_end_to_end(made)
    assert all(torch.equal(a, b) for a, b in zip(made, before, strict=True))
    (whole,) = pieces(made)
    assert torch.equal(whole, torch.cat([b.reshape(-1) for b in before]))
    whole.detach().zero_()
    assert not any(parameter.any() for parameter in made)


def test_dtypes_are_pieces_of_their_own() -> None:
    made = [torch.nn.Parameter(torch.ones(3, dtype=d)) for d in (torch.float32, torch.bfloat16, torch.float32)]
    lay_end_to_end(made)
    assert [list(run) for run in adjacent(made)] == [[0], [1], [2]]
    assert [len(piece) for piece in pieces([made[0], made[2]])] == [6]


def test_runs_end_where_memory_does() -> None:
    flat = torch.arange(20.0)
    a, b, hole, c = flat[:4], flat[4:10].view(2, 3), flat[10:11], flat[11:20]
    assert [list(run) for run in adjacent([a, b, c])] == [[0, 1], [2]]
    assert [list(run) for run in adjacent([a, b, hole, c])] == [[0, 1, 2, 3]]
    assert [list(run) for run in adjacent([b, a])] == [[0], [1]]
    assert [list(run) for run in adjacent([a, torch.ones(6)])] == [[0], [1]]
    assert [list(run) for run in adjacent([flat[:6].view(2, 3).t(), flat[6:]])] == [[0], [1]]
    assert list(adjacent([])) == []
    assert torch.equal(joined([a, b]), flat[:10])


def test_one_update_of_all_is_the_bits_of_one_a_parameter() -> None:
    """Also where some have no gradient for a while, and where gradients are one piece or many."""
    settings = TrainSettings(weight_decay=0.1, learning_rate=1e-3 * 6, scheduler="constant_with_warmup", warmup_steps=6)
    ours, theirs = parameters(), parameters()
    made = AdamW(ours, settings)
    reference = torch.optim.AdamW(
        list(theirs.values()), lr=1.0, betas=settings.betas, eps=settings.epsilon, weight_decay=0.1, foreach=False
    )
    sizes = [p.numel() for p in ours.values()]
    for step in range(6):
        flat = torch.randn(sum(sizes), generator=torch.Generator().manual_seed(step))
        for (name, mine), other, part in zip(ours.items(), theirs.values(), flat.split(sizes), strict=True):
            gradient = None if name == "p1" and step < 2 else part.view(mine.shape)
            mine.grad = gradient.clone() if gradient is not None and step == 4 else gradient
            other.grad = None if gradient is None else gradient.clone()
        assert len(list(made._runs())) == {0: 2, 1: 2, 4: 4}.get(step, 3)
        made.step(step)
        reference.param_groups[0]["lr"] = settings.learning_rate_at(step)
        reference.step()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    state = made.state()
    for name, parameter in theirs.items():
        for moment, value in reference.state[parameter].items():
            assert torch.equal(state[f"{name}.{moment}"], value)
