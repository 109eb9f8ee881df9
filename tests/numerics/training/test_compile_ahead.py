"""What one block is compiled for ahead is what the training of the whole transformer is compiled for.

PyTorch's cache names a function by its graph and by what is known of its inputs. Both are looked at here as Dynamo
gives them to the compiler, which writes no code: that takes minutes on a CPU.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._inductor import compile_fx

from ltx_core.progress import SILENT
from ltx_core.training.metrics import History
from ltx_core.training.out_of_memory import fullest_batches
from ltx_core.training.run import TrainJob, compile_ahead, prepare
from ltx_core.training.step import backward_step
from tests.numerics.training.conftest import build_transformer

pytestmark = pytest.mark.numerics


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The graphs that the compiler was asked for, with shape, dtype and gradient of each input."""
    graphs: list[str] = []

    def compiler(graph: torch.fx.GraphModule, inputs: Any, **_: Any) -> Callable[..., Any]:
        known = [(tuple(x.shape), x.dtype, x.requires_grad) for x in inputs if isinstance(x, torch.Tensor)]
        graphs.append(f"{graph.code} {known}")
        return graph.forward

    monkeypatch.setattr(compile_fx, "compile_fx", compiler)
    torch._dynamo.reset()
    yield graphs
    torch._dynamo.reset()


def compiled(job: TrainJob, num_blocks: int) -> TrainJob:
    """With blocks that are compiled, in the precision in which they train."""
    settings = job.settings.model_copy(update={"compile_blocks": "on", "dtype": "bf16"})
    load = lambda: build_transformer(torch.bfloat16, num_layers=num_blocks)  # noqa: E731
    return replace(job, settings=settings, load_transformer=load)


def test_one_block_asks_for_what_three_ask_for(asked: list[str], job_of: Any, tmp_path: Path) -> None:
    job = job_of(tmp_path)
    compile_ahead(compiled(job, 1))
    ahead = set(asked)
    assert list(tmp_path.iterdir()) == []
    asked.clear()
    torch._dynamo.reset()
    run = prepare(compiled(job, 3), tmp_path, "", History(), SILENT)
    for batch in fullest_batches(run.objective, run.plan):
        backward_step(run.objective, [batch], backward=run.backward)
    assert set(asked) == ahead
    assert len(asked) == len(fullest_batches(run.objective, run.plan)) == 2
