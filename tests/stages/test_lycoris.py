"""A LyCORIS adapter through the stages: trained on the miniature in 8 bits, rendered, and given to another run."""

from typing import Any

import pytest
import torch

from datasets_spec import Render
from ltx_core.io.tensors import read_tensors
from ltx_core.sampling.decoding import load_latents
from tasks.stages.render.jobs import final_checkpoint
from tests.stages.bench import Bench

pytestmark = [pytest.mark.whole, pytest.mark.extra]
LOKR: dict[str, Any] = {"algo": "lokr", "linear_dim": 10000, "factor": 4, "dora_wd": True}


def latents_of(bench: Bench, row: Render) -> torch.Tensor:
    return load_latents((bench.workspace / row.file).with_suffix(".safetensors")).video


def test_a_lycoris_adapter_is_trained_rendered_and_given_to_another_run(bench: Bench) -> None:
    asked = bench.set(
        train_lora__rank=32,
        train_lora__lycoris=LOKR,
        train_lora__base_precision="int8",
        train_lora__streamed_blocks="all",
        train_lora__steps=12,
        train_lora__learning_rate=2e-2,
        train_lora__checkpoint_interval=12,
        train_lora__eval_interval=12,
    )
    results = asked.run("render_validation")
    row = final_checkpoint(results["train_lora"].manifest)
    assert row.eval_loss is not None
    assert row.base_eval_loss is not None
    assert row.eval_loss < row.base_eval_loss
    tensors, header = read_tensors(bench.workspace / row.file)
    assert {name.rpartition(".")[2] for name in tensors} == {"lokr_w1", "lokr_w2", "alpha", "dora_scale"}
    assert {"ltx2.lycoris", "base_transformer", "latents_digest"} <= header.keys()
    made = {render.variant: latents_of(bench, render) for render in results["render_validation"].manifest}
    assert not torch.equal(made["candidate"], made["base"])
    half = {"path": str(bench.workspace / row.file), "strength": 0.5}
    given = {"name": "half", "adapters": [half], "lora": False}
    other = asked.set(render_validation__adapters=[given]).run("render_validation")["render_validation"]
    (render,) = (render for render in other.manifest if render.adapters == "half")
    found = latents_of(bench, render)
    assert not torch.equal(found, made["candidate"])
    assert (found - made["base"]).norm() < (made["candidate"] - made["base"]).norm()
