"""Renders on a card that is too small for the transformer: streamed, the same to the bit, and told in the plan."""

from typing import Any

import pytest
import torch

from ltx_core.checkpoint.model import Checkpoint
from ltx_core.engine.load import load_denoiser
from ltx_core.engine.options import EngineOptions
from ltx_core.engine.rendering import render_memory
from ltx_core.errors import OutOfMemory
from ltx_core.sampling.latents import load_latents
from tasks.weights import open_weights
from tests.stages.bench import Bench, Results

pytestmark = pytest.mark.whole


def latents(bench: Bench, results: Results) -> dict[str, torch.Tensor]:
    rows = list(results["render_validation"].manifest)
    return {row.variant: load_latents((bench.workspace / row.file).with_suffix(".safetensors")).video for row in rows}


def test_streamed_renders_are_the_same_bits(bench: Bench, results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base model's, and the LoRA's on streamed blocks. The miniature has as many blocks as there are slots."""
    monkeypatch.setattr("ltx_core.engine.rendering.SLOTS", 1)
    shapes = open_weights(bench.config.model).checkpoint.shapes("transformer")
    needed = render_memory(shapes, 2 * 2 * 4, 4)
    assert needed.streamed < needed.whole
    kept = latents(bench, results)
    built: list[EngineOptions] = []

    def assembled(checkpoint: Checkpoint, options: EngineOptions, **how: Any) -> Any:
        built.append(options)
        return load_denoiser(checkpoint, options, **how)

    monkeypatch.setattr("ltx_core.engine.load.load_denoiser", assembled)
    monkeypatch.setattr("tasks.render_sample.render_budget", lambda *_: needed.streamed)
    again = bench.run("render_validation", force="render_validation")
    assert [options.streamed_blocks for options in built] == [needed.num_blocks]
    made = latents(bench, again)
    assert all(torch.equal(made[variant], kept[variant]) for variant in ("base", "candidate"))

    monkeypatch.setattr("tasks.render_sample.render_budget", lambda *_: needed.streamed - 1)
    with pytest.raises(OutOfMemory, match="lower render_validation's width, height or num_frames"):
        bench.but().run("render_validation", force="render_validation")
