"""A compiled function is found by the next process, unless anything in it is another one by then.

Dynamo forgets all it knows between two calls, as a new process would; what is found comes from PyTorch's own cache.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import pytest
import torch
from torch._dynamo.utils import counters
from torch._functorch import config as functorch_config
from torch._inductor import compile_fx, config
from torch._inductor.cpu_vec_isa import valid_vec_isa_list
from torch._inductor.exc import InductorError
from torch._inductor.utils import fresh_cache
from torch.compiler import config as compiler_config
from torch.nn.functional import scaled_dot_product_attention

from ltx_core.engine import compiling, low_precision
from ltx_core.engine import compiling as gelu
from ltx_core.engine.activation_offload import ActivationOffload
from ltx_core.engine.compiling import keeping_attention
from ltx_core.engine.contiguous import HostArena
from ltx_core.engine.low_precision import LowPrecision, QuantisedLinear

pytestmark = [pytest.mark.numerics, pytest.mark.extra]
BUDGET = 0.5


class Block(torch.nn.Module):
    """An 8-bit product, gelu of slopes and an attention: all that keeps PyTorch from keeping a block by itself."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.wide = QuantisedLinear(torch.nn.Linear(32, 32), LowPrecision("int8"))

    def forward(self, video: torch.Tensor, audio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[1, heads, 32, 32] and anything."""
        x = gelu.gelu(self.wide(video))
        return scaled_dot_product_attention(x, x, x), audio + 1


def run(budget: float = BUDGET, offload: ActivationOffload | None = None) -> tuple[str, torch.Tensor | None]:
    """What PyTorch's cache said of a block in a process that is new to it, and the video's gradient."""
    torch._dynamo.reset()
    counters.clear()
    block = Block()
    video = torch.linspace(-2, 2, 2048).reshape(1, 2, 32, 32).bfloat16().requires_grad_()
    audio = torch.ones(1, requires_grad=True)
    function = torch.compile(keeping_attention, fullgraph=True, dynamic=False)
    keeping: Any = offload.keeping(0, list(block.parameters())) if offload else torch.enable_grad()
    here = compiler_config.patch(cache_key_tag=""), functorch_config.patch(activation_memory_budget=budget)  # type: ignore[attr-defined]
    with suppress(InductorError), here[0], here[1], keeping:
        compiling.keep_compiled_functions()
        made, _ = function(block, video, audio, {})
        made.float().square().sum().backward()
    (said,) = (name for name in ("hit", "miss", "bypass") if counters["aot_autograd"][f"autograd_cache_{name}"])
    return said, video.grad


@contextmanager
def scalar_code() -> Iterator[None]:
    """What vectors the processor has is not asked, which would compile and start a program for each, nor remembered."""
    valid_vec_isa_list.cache_clear()
    yield
    valid_vec_isa_list.cache_clear()


@pytest.fixture(scope="module")
def made() -> Iterator[torch.Tensor]:
    """The gradient by a block that was compiled; the only time that code is written."""
    quick = config.patch({"aot_inductor.debug_compile": True, "cpp.vec_isa_ok": False})
    with fresh_cache(), quick, scalar_code(), pytest.MonkeyPatch.context() as patch:
        said, gradient = run()
        assert said == "miss"
        assert gradient is not None

        def refuse(*_: Any, **__: Any) -> NoReturn:
            raise RuntimeError("the compiler was asked to write code")

        patch.setattr(compile_fx, "fx_codegen_and_compile", refuse)
        yield gradient


def test_the_next_process_finds_it(made: torch.Tensor) -> None:
    said, found = run()
    assert said == "hit"
    assert found is not None
    assert found.equal(made)


def test_what_it_keeps_can_wait_on_the_host(made: torch.Tensor) -> None:
    offload = ActivationOffload(torch.device("cpu"), HostArena(pinned=False), [0], 2**20)
    said, found = run(offload=offload)
    assert said == "hit"
    assert found is not None
    assert found.equal(made)


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        (gelu, "STEPS", 100),  # in a function's forward and backward
        (low_precision, "SMALLEST_PEAK", 1e-3),  # in what a function calls
        (compiling, "LONGEST_ROW", 2048),  # in no graph
    ],
)
def test_what_was_changed_is_compiled_again(
    where: Any, name: str, value: float, made: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert made is not None
    monkeypatch.setattr(where, name, value)
    assert run() == ("miss", None)


def test_another_budget_is_another_function(made: torch.Tensor) -> None:
    assert made is not None
    assert run(0.25)[0] == "miss"
