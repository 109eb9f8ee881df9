"""What sampling is predicted to take, against what was traced at full size; and as few streamed blocks as fit."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ltx_core.engine.options import EngineOptions
from ltx_core.errors import OutOfMemory
from ltx_core.memory.plan import GIB, plan
from ltx_core.memory.transformer import BatchShape, ModelSizes, Sampling, SamplingOptions, model_sizes
from tests.released_header import transformer_shapes

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"
LINES = [json.loads(line) for file in RESULTS.glob("*.jsonl") for line in file.read_text().splitlines()]
ALL_TRACED = [line for line in LINES if line["part"] == "sampling_memory"]
TRACED = [line for line in ALL_TRACED if line["date"] == max(line["date"] for line in ALL_TRACED)]
TOKENS = {"17": (1170, 17), "121": (6144, 121), "121 wide": (14080, 121)}


@cache
def sizes() -> ModelSizes:
    return model_sizes(transformer_shapes())


def work(shape: str = "121", *, by_token: bool = False, adapter_bytes: int = 0) -> Sampling:
    batch = BatchShape(1, *TOKENS[shape], 1024, by_token=by_token)
    return Sampling(sizes(), batch, 2, adapter_bytes)


@pytest.mark.parametrize("line", TRACED, ids=lambda line: f"{line['row']} {line['shape']} {line['by_token']}")
def test_a_blocks_work_is_as_traced(line: Mapping[str, Any]) -> None:
    precision = line["row"].removesuffix("-weights")
    found = work(line["shape"], by_token=line["by_token"]).estimate(
        SamplingOptions(EngineOptions(precision=precision, products="none"))
    )
    assert found.terms["one block's work"] / GIB == pytest.approx(line["peak_gib"], rel=0.10)


@pytest.mark.parametrize("gib", [12, 24, 36])
def test_no_block_more_is_streamed_than_must_be(gib: int) -> None:
    choice = plan(work(), gib * GIB)
    streamed = choice.options.engine.offloaded_blocks
    assert 0 < streamed <= 48
    assert choice.options.engine.forward_only
    assert choice.estimate.needed_bytes <= gib * GIB
    fewer = work().estimate(SamplingOptions(EngineOptions(offloaded_blocks=streamed - 1)))
    assert fewer.needed_bytes > gib * GIB
    assert f"{streamed} of 48 blocks offloaded" in choice.why
    assert choice.estimate.host_bytes == streamed * work().sizes.block_bytes(in_8_bits=False, item_bytes=2)


def test_what_is_asked_for_stays() -> None:
    asked = EngineOptions(offloaded_blocks=3)
    assert plan(replace(work(), asked=asked, chooses=False), GIB).options == SamplingOptions(asked)
    assert plan(work(), 141 * GIB).options.engine.offloaded_blocks == 0


def test_what_cannot_fit_is_refused_with_numbers() -> None:
    with pytest.raises(OutOfMemory, match=r"needs \d\.\d GiB with all blocks offloaded, and 3\.0 GiB can be had"):
        plan(work(), 3 * GIB)


def test_adapters_are_counted() -> None:
    options = SamplingOptions(EngineOptions())
    assert work(adapter_bytes=GIB).estimate(options).peak_bytes == work().estimate(options).peak_bytes + GIB


def test_two_passes_are_one_forward_where_both_fit() -> None:
    """Twice a block's work, and nothing else; where that does not fit beside all blocks, one after the other."""
    pairs = replace(work(), has_pairs=True)
    single, both = (pairs.estimate(SamplingOptions(pairs.asked, together)) for together in (False, True))
    more = {name for name, taken in both.terms.items() if taken != single.terms[name]}
    assert more == {"one block's work"}
    assert both.terms["one block's work"] == pytest.approx(2 * single.terms["one block's work"], rel=1e-6)
    assert plan(pairs, both.needed_bytes).options.together
    assert plan(pairs, both.needed_bytes - 1).options == SamplingOptions(pairs.asked)
    assert plan(pairs, single.needed_bytes - 1).options.engine.offloaded_blocks > 0
    assert not plan(work(), 141 * GIB).options.together, "nothing is unconditional"
