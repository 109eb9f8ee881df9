"""The miniature trained with routes over its blocks (TREAD), beside a control of the same seeds."""

from typing import Any

import pytest

from tasks.checkpoints import final_checkpoint
from tests.stages.bench import Bench

pytestmark = pytest.mark.whole
ROUTE = {"selection_ratio": 0.5, "start_layer_idx": 1, "end_layer_idx": -1}


def trained(bench: Bench, **options: Any) -> tuple[float, float]:
    """Eval loss of the base and of the LoRA, both measured with all tokens."""
    learns = bench.set(
        train_lora__steps=60,
        train_lora__learning_rate=1e-2,
        train_lora__checkpoint_interval=60,
        train_lora__eval_interval=60,
        train_lora__eval_sigmas=4,
        **options,
    )
    row = final_checkpoint(learns.run("train_lora")["train_lora"].manifest)
    assert row.base_eval_loss is not None
    assert row.eval_loss is not None
    return row.base_eval_loss, row.eval_loss


def test_loss_falls_with_a_route_nearly_as_far_as_without(bench: Bench) -> None:
    base, control = trained(bench)
    routed_base, routed = trained(bench, train_lora__tread_routes=[ROUTE])
    assert routed_base == base
    assert routed != control
    assert control < base
    assert base - routed > 0.8 * (base - control)
