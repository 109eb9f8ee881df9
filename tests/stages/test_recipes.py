"""The settings of docs/recipes train a LoRA of the layers that they name, on the miniature."""

import re
from pathlib import Path

import pytest
import yaml

from ltx_core.adapters.lora_layout import stream_of, strip_prefix
from ltx_core.io.tensors import read_tensors
from tests.repo.source import ROOT
from tests.stages.bench import Bench

pytestmark = [pytest.mark.whole, pytest.mark.extra]

PAGES = sorted((ROOT / "docs/recipes").glob("*.md"))
TOO_LARGE = {"steps": 2, "rank": 2, "base_precision": "native"}
"""Replaced, so that it takes seconds."""
STREAMS = {
    "character": {"video"},
    "style": {"video"},
    "motion": {"video"},
    "voice": {"audio", "cross"},
    "foley": {"audio", "cross"},
    "control": {"video"},
    "between": {"video"},
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_recipe_trains(own: Bench, page: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.S)
    recipe = yaml.safe_load(block)
    settings = recipe["train_lora"] | TOO_LARGE
    bench = own.set(**{f"train_lora__{name}": value for name, value in settings.items()})
    for name in ("reference", "keyframes"):
        if name in recipe["datasets"][0]:
            bench = bench.set(**{f"datasets__0__{name}": recipe["datasets"][0][name]})
    final = next(iter(bench.run("train_lora")["train_lora"].manifest))
    tensors, _ = read_tensors(bench.workspace / final.file)
    layers = {strip_prefix(name.split(".lora_")[0]) for name in tensors}
    assert {stream_of(layer) for layer in layers} == STREAMS[page.stem]
    assert any(".ff." in layer for layer in layers) == ("ff" in settings.get("targets", ()))
