"""Parts of blocks are computed again whatever the adapter and the routes: the gradients of blocks kept whole.

Blocks are traced and cut as for compiling, without the compiler: a break in a graph would be an error, and masks that
were drawn anew, or tokens routed anew, would show in the gradients by far more than 8 bits do. A block is traced for
seconds, so there is one, and what goes together is tried together.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.engine import runner
from ltx_core.engine.compiling import keeping_attention
from ltx_core.training.run import TrainJob
from tests.numerics.training.conftest import build_transformer
from tests.numerics.training.test_dropout import JobOf, gradients, occurrences, run_of

OUTPUTS = ("attn1.to_v", "attn1.to_out.0", "audio_attn1.to_v", "audio_attn1.to_out.0")
KINDS: dict[str, dict[str, Any]] = {
    "int8, dropout, first frames, TREAD": {
        "base_precision": "int8",
        "dropout": 0.5,
        "first_frame_probability": 1.0,
        "tread_routes": [{"selection_ratio": 0.5, "start_layer_idx": 0, "end_layer_idx": 0}],
    },
    "LoHa, DoRA": {
        "dropout": 0.0,
        "targets": OUTPUTS,
        "rank": 32,
        "lycoris": {"algo": "loha", "linear_dim": 4, "linear_alpha": 4, "dora_wd": True},
    },
}


@pytest.mark.extra
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_gradients_are_those_of_blocks_kept_whole(
    kind: dict[str, Any], job_of: JobOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    traced = torch.compile(keeping_attention, fullgraph=True, dynamic=False, backend="aot_eager_decomp_partition")

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return traced(*arguments)

    monkeypatch.setattr(runner, "_compiled_keeping_attention", counted)

    def one_block(folder: Path, **changes: Any) -> TrainJob:
        return replace(job_of(folder, **changes), load_transformer=lambda: build_transformer(num_layers=1))

    plain = run_of(one_block, tmp_path / "whole", **kind)
    parts = run_of(one_block, tmp_path / "parts", compile_blocks="on", activation_budget=0.2, **kind)
    clips = occurrences(plain, "large", "large2")
    found, wanted = gradients(parts, [clips]), gradients(plain, [clips])
    assert len(calls) == 1
    loose = {"rtol": 2e-2, "atol": 1e-3} if "base_precision" in kind else {"rtol": 1e-3, "atol": 1e-5}
    torch.testing.assert_close(found, wanted, **loose)
