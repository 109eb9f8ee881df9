"""What one block was compiled for ahead is found by the training of the whole transformer."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters
from torch._inductor import config
from torch._inductor.cpu_vec_isa import valid_vec_isa_list
from torch._inductor.utils import fresh_cache
from torch.compiler import config as compiler_config

from ltx_core.progress import SILENT
from ltx_core.training.metrics import History
from ltx_core.training.out_of_memory import fullest_batches
from ltx_core.training.run import TrainJob, compile_ahead, prepare
from ltx_core.training.step import backward_step
from tests.numerics.training.conftest import build_transformer

pytestmark = [pytest.mark.numerics, pytest.mark.extra]


@pytest.fixture
def cache() -> Iterator[None]:
    """Of PyTorch, empty; for a processor without vectors, of which code is compiled sooner."""
    valid_vec_isa_list.cache_clear()
    quick = config.patch({"aot_inductor.debug_compile": True, "cpp.vec_isa_ok": False})
    with fresh_cache(), quick, compiler_config.patch(cache_key_tag=""):  # type: ignore[attr-defined]
        yield
    valid_vec_isa_list.cache_clear()
    torch._dynamo.reset()


def compiled(job: TrainJob) -> TrainJob:
    """With functions that are compiled, in the precision that is short enough for a LoRA to be added unrounded."""
    settings = job.settings.model_copy(update={"compile_blocks": "on", "dtype": "bf16"})
    return replace(job, settings=settings)


def of_blocks(job: TrainJob, number: int) -> TrainJob:
    return replace(compiled(job), load_transformer=lambda: build_transformer(torch.bfloat16, num_layers=number))


def test_the_whole_transformer_finds_what_one_block_was_compiled_for(
    cache: None, job_of: Any, source_of: Any, clip: Any, tmp_path: Path
) -> None:
    job = job_of(tmp_path, source_of([clip("a"), clip("b")]))
    compile_ahead(of_blocks(job, 1))
    assert counters["aot_autograd"]["autograd_cache_miss"] > 0
    assert list(tmp_path.iterdir()) == []
    torch._dynamo.reset()
    counters.clear()
    run = prepare(of_blocks(job, 3), tmp_path, "", History(), SILENT)
    for batch in fullest_batches(run.objective, run.plan):
        backward_step(run.objective, [batch], backward=run.backward)
    found = counters["aot_autograd"]
    assert found["autograd_cache_hit"] > 0
    assert found["autograd_cache_miss"] == found["autograd_cache_bypass"] == 0
