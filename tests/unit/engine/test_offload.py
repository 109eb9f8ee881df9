"""Activations that wait on the host: the same bits, really gone from the device, and no more of them than asked."""

from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import torch

from ltx_core.engine import activation_offload as offload
from ltx_core.engine.activation_offload import ActivationOffload
from ltx_core.engine.contiguous import HostArena
from ltx_core.engine.options import EngineOptions
from ltx_core.errors import ConfigError
from tests.unit.engine.conftest import NUM_BLOCKS, build, loss_and_gradients

pytestmark = pytest.mark.whole

ROOM = 2**30
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _small_tensors_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offload, "SMALLEST", 64)


@pytest.fixture
def brought(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Blocks whose activations came back from the host."""
    found: list[int] = []
    bring = ActivationOffload._bring

    def counted(self: ActivationOffload, index: int) -> None:
        if any(kept.here is None for kept in self._kept[index]):
            found.append(index)
        bring(self, index)

    monkeypatch.setattr(ActivationOffload, "_bring", counted)
    return found


@pytest.mark.parametrize(
    ("options", "blocks"),
    [
        pytest.param(EngineOptions(activation_offload=ROOM), [2, 1, 0], marks=pytest.mark.extra),
        (EngineOptions(activation_offload=ROOM, activation_checkpointing=0.4), [1, 0]),
        (EngineOptions(activation_offload=ROOM, offloaded_blocks=2), [1, 0]),
        pytest.param(EngineOptions(activation_offload=NUM_BLOCKS * 4096), [2, 1, 0], marks=pytest.mark.extra),
    ],
    ids=str,
)
def test_gradients_are_the_same_bits(options: EngineOptions, blocks: list[int], brought: list[int]) -> None:
    """The last two blocks are asked for before they left."""
    plain, waiting = build(EngineOptions()), build(options)
    loss, gradients = loss_and_gradients(plain)
    for _ in range(2):
        again, others = loss_and_gradients(waiting)
        assert again.equal(loss)
        assert others.keys() == gradients.keys()
        assert all(others[name].equal(gradients[name]) for name in gradients)
    assert brought == 2 * blocks


def test_what_a_compiled_function_saves_waits_too(brought: list[int]) -> None:
    """PyTorch hands over what a whole compiled function keeps, some of it views of one piece of memory."""

    @partial(torch.compile, fullgraph=True, backend="aot_eager_decomp_partition")
    def block(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        left, right = (x @ weight).chunk(2, dim=-1)
        return x + torch.cat([left.sigmoid() * right, left * right.tanh()], dim=-1)

    weights = [0.1 * torch.randn(32, 32, generator=torch.Generator().manual_seed(i)).requires_grad_() for i in range(4)]
    start = torch.linspace(-1, 1, 512).view(16, 32)

    def trained(host: ActivationOffload | None) -> list[torch.Tensor]:
        x = start.clone().requires_grad_()
        for index, weight in enumerate(weights):
            with host.keeping(index, [weight]) if host else nullcontext():
                x = block(x, weight)
        return list(torch.autograd.grad(x.sum(), weights))

    waiting = trained(ActivationOffload(CPU, HostArena(pinned=False), range(4), ROOM // 2**10))
    assert all(gradient.isfinite().all() for gradient in waiting)
    assert all(ours.equal(plain) for ours, plain in zip(waiting, trained(None), strict=True))
    assert brought == [1, 0]


def test_what_left_takes_no_memory_and_what_is_shared_stays() -> None:
    host = ActivationOffload(CPU, HostArena(pinned=False), range(3), 8192)
    weight = torch.ones(1024)
    x = start = torch.ones(1024, requires_grad=True)
    for index in range(3):
        with host.keeping(index, [weight]):
            x = x * torch.full((1024,), index + 2.0) * weight
    assert [[kept.here is None for kept in host._kept[index]] for index in range(3)] == [[True], [False], [False]]
    x.sum().backward()
    assert start.grad is not None
    assert start.grad.eq(2 * 3 * 4).all()
    assert not host._kept


def test_no_more_waits_than_there_is_room_for() -> None:
    host = ActivationOffload(CPU, HostArena(pinned=False), [0], 8192)
    x = torch.ones(1024, requires_grad=True)
    with host.keeping(0, []):
        y = x
        for factor in (2.0, 3.0, 4.0):
            y = y * torch.full((1024,), factor)
    assert sum(kept.host.numel() for kept in host._kept[0]) == 8192
    y.sum().backward()


def test_a_forward_without_its_backward_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    transformer = build(EngineOptions(activation_offload=ROOM))
    loss, gradients = loss_and_gradients(build(EngineOptions()))
    monkeypatch.setattr(torch.Tensor, "backward", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        loss_and_gradients(transformer)
    monkeypatch.undo()
    monkeypatch.setattr(offload, "SMALLEST", 64)
    again, others = loss_and_gradients(transformer)
    assert again.equal(loss)
    assert all(others[name].equal(gradients[name]) for name in gradients)


def _interrupted(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_what_could_not_wait_is_refused() -> None:
    with pytest.raises(ConfigError, match="activation_checkpointing is 1"):
        EngineOptions(activation_offload=1, activation_checkpointing=1.0)
    with pytest.raises(ConfigError, match="-1 bytes; 0 or more"):
        EngineOptions(activation_offload=-1)
    with pytest.raises(ConfigError, match="every block uses checkpointing or is offloaded"):
        build(EngineOptions(activation_offload=ROOM, offloaded_blocks=NUM_BLOCKS))
