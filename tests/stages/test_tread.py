"""The miniature trained with routes over its blocks (TREAD), beside a control of the same seeds.

That it learns as much: tests/numerics/training/test_tread.py.
"""

from typing import Any

import pytest

from tasks.stages.render.jobs import final_checkpoint
from tests.stages.bench import Bench

pytestmark = pytest.mark.whole
ROUTE = {"selection_ratio": 0.5, "start_layer_idx": 1, "end_layer_idx": -1}


def trained(bench: Bench, **options: Any) -> tuple[float, float]:
    """Eval loss of the base and of the LoRA, both measured with all tokens."""
    learns = bench.set(
        train_lora__steps=4,
        train_lora__learning_rate=1e-2,
        train_lora__checkpoint_interval=4,
        train_lora__eval_interval=4,
        **options,
    )
    row = final_checkpoint(learns.run("train_lora")["train_lora"].manifest)
    assert row.base_eval_loss is not None
    assert row.eval_loss is not None
    return row.base_eval_loss, row.eval_loss


def test_a_route_changes_what_is_learnt_and_not_how_it_is_measured(bench: Bench) -> None:
    base, control = trained(bench)
    routed_base, routed = trained(bench, train_lora__tread_routes=[ROUTE])
    assert routed_base == base
    assert routed != control
    assert routed != base
