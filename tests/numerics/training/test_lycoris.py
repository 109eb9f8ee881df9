"""LyCORIS adapters in training: they learn, wherever the base lies, and a run that was killed ends with the same bytes.

Eval losses of the tiny model after 60 steps on all attention, base 6.81: LoRA 3.09, LoCon 3.09, LoHa 3.08, LoKr 3.22,
DoRA 3.10, DoRA of LoKr 3.16. Here fewer steps and layers, for time.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.io.tensors import read_tensors
from ltx_core.progress import Silent
from ltx_core.training import step as backward
from ltx_core.training.metrics import History
from ltx_core.training.objective import loss_weights
from ltx_core.training.run import TrainJob, prepare, train_lora
from ltx_core.training.step import EagerBackward, GraphedBackward
from tests.numerics.training.test_precisions import with_engine

pytestmark = pytest.mark.numerics
JobOf = Callable[..., TrainJob]
LOHA: dict[str, Any] = {"algo": "loha", "linear_dim": 4, "linear_alpha": 4}
LOKR: dict[str, Any] = {"algo": "lokr", "linear_dim": 4, "linear_alpha": 4, "factor": 4}
DORA: dict[str, Any] = {"algo": "lora", "linear_dim": 4, "linear_alpha": 4, "dora_wd": True}
OUTPUTS = ("attn1.to_v", "attn1.to_out.0", "audio_attn1.to_v", "audio_attn1.to_out.0")
LONG: dict[str, Any] = {
    "steps": 20,
    "learning_rate": 2e-2,
    "eval_interval": 20,
    "checkpoint_interval": 20,
    "targets": OUTPUTS,
    "scheduler": "constant",
    "warmup_steps": 0,
    "gradient_accumulation_steps": 1,
    "base_precision": "int8",
}


def job(job_of: JobOf, folder: Path, lycoris: dict[str, Any], **changes: Any) -> TrainJob:
    return with_engine(job_of(folder, rank=32, lycoris=lycoris, **changes))


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(LOHA, id="LoHa"),
        pytest.param(LOKR, id="LoKr", marks=pytest.mark.extra),
        pytest.param(DORA, id="DoRA", marks=pytest.mark.extra),
    ],
)
def test_learns_on_a_base_in_8_bits_that_is_streamed(job_of: JobOf, tmp_path: Path, kind: dict[str, Any]) -> None:
    """The eval loss falls far under the base's, and every trained tensor has moved."""
    asked = job(job_of, tmp_path, kind, **LONG, offloaded_blocks="all")
    start = prepare(asked, tmp_path / "start", "", History(), Silent()).parameters
    result = train_lora(asked, Silent())
    assert result.eval_loss is not None
    assert result.base_eval_loss is not None
    assert result.eval_loss < 0.7 * result.base_eval_loss
    trained, _ = read_tensors(tmp_path / "checkpoints" / "step-000020" / "adapter.safetensors")
    assert trained.keys() == start.keys()
    assert not [name for name, tensor in trained.items() if torch.equal(tensor, start[name])]
    header = read_tensors(result.lora_path)[1]
    assert json.loads(header["ltx2.lycoris"])["algo"] == kind["algo"]
    assert "ltx2.rank" not in header


def test_a_graph_of_a_step_does_the_same(job_of: JobOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backward, "StepGraphs", lambda work, *_: work)  # the real one wants a GPU
    run = prepare(job(job_of, tmp_path, LOHA | {"dora_wd": True}), tmp_path, "", History(), Silent())
    batch = run.objective.train_batch(run.plan.batch(0))
    found = []
    for way in (EagerBackward(run.objective), GraphedBackward(run.objective, [])):
        for parameter in run.parameters.values():
            parameter.grad = None
        way(batch, loss_weights(2, 2))
        found.append({name: p.grad.clone() for name, p in run.parameters.items() if p.grad is not None})
    assert found[0].keys() == run.parameters.keys()
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.extra
def test_a_multiplier_is_in_the_file(job_of: JobOf, tmp_path: Path) -> None:
    """Half the multiplier, from the same weights, is half the change: the last check of a run sees to it."""
    result = train_lora(job(job_of, tmp_path, LOKR | {"multiplier": 0.5}, steps=3), Silent())
    run = prepare(job(job_of, tmp_path, LOKR), tmp_path, "", History(), Silent())
    tensors, _ = read_tensors(result.lora_path)
    stored, _ = read_tensors(tmp_path / "checkpoints" / "step-000003" / "adapter.safetensors")
    name = "transformer_blocks.0.attn1.to_q.lokr_w1"
    torch.testing.assert_close(tensors[f"diffusion_model.{name}"].float(), 0.5 * stored[name], rtol=2**-8, atol=0)
    assert run.parameters.keys() == stored.keys()
