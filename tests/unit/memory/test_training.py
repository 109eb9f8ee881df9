"""The memory plan: predictions against measured peaks, choices that fit, and refusals with numbers."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ltx_core.adapters.lora import add_lora, lora_parameters, target_modules
from ltx_core.engine import low_precision
from ltx_core.engine.options import EngineOptions, Precision
from ltx_core.errors import CheckpointError, ConfigError, OutOfMemory
from ltx_core.memory import transformer as model_sizes
from ltx_core.memory.plan import GIB, Plan, plan, usable_bytes
from ltx_core.memory.training import (
    BUDGETS,
    KEPT_WIDTHS,
    MethodMemory,
    Training,
    TrainingStep,
    advice,
    budgets_tried,
    reliefs,
)
from ltx_core.memory.transformer import BatchShape, ModelSizes
from ltx_core.memory.transformer import model_sizes as sizes_of
from ltx_core.tiny.header import Generation
from ltx_core.training.config import TrainSettings
from ltx_core.training.plan_settings import trained_weights
from tests.released_header import transformer_shapes
from tests.unit.engine.conftest import build

pytestmark = pytest.mark.whole

MEASURED = json.loads(Path(__file__).with_name("measured_peaks.json").read_text(encoding="utf-8"))
ROWS = MEASURED["rows"]
RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"
LINES = [json.loads(line) for file in RESULTS.glob("*.jsonl") for line in file.read_text().splitlines()]
TRACED = [line for line in LINES if line["part"] == "activations"]
NEWEST = max(line["date"] for line in TRACED)
SMALL = BatchShape(size=2, video_tokens=1170, audio_tokens=17, text_tokens=1024)
LONG = BatchShape(size=1, video_tokens=6144, audio_tokens=121, text_tokens=1024)
Shapes = dict[str, tuple[int, ...]]


@pytest.fixture(scope="module")
def shapes() -> dict[int, Shapes]:
    """Of the released 2.0 transformer, by number of blocks."""
    return _shapes("2.0")


@cache
def _shapes(generation: Generation) -> dict[int, Shapes]:
    whole = transformer_shapes(generation)
    return {48: whole, 8: {name: shape for name, shape in whole.items() if _block(name) < 8}}


def _block(name: str) -> int:
    """Number of the block that a tensor is in; -1 outside."""
    return int(name.split(".")[1]) if name.startswith("transformer_blocks.") else -1


@pytest.fixture(scope="module")
def work(shapes: dict[int, Shapes]) -> TrainingStep:
    """Rank 32 on all attention projections, 480x832x17 twice."""
    return TrainingStep(sizes_of(shapes[48]), SMALL, Training(trained_weights(TrainSettings(), shapes[48])[0]))


def options(precision: Precision = "fp8", **changes: Any) -> EngineOptions:
    return EngineOptions(precision=precision, compiled=True, graphs=True, **changes)


def choose(work: TrainingStep, asked: EngineOptions, budget_bytes: int, **flags: Any) -> Plan[EngineOptions]:
    """Plan with `asked` for what is not open: every option is, but for those of which a flag is False."""
    names = {
        "checkpointing": "activation_checkpointing",
        "budget": "activation_budget",
        "offload": "activation_offload",
        "stream": "offloaded_blocks",
    }
    opened = frozenset(name for flag, name in names.items() if flags.get(flag, True))
    return plan(replace(work, asked=asked, open=opened, host_bytes=flags.get("host_bytes", 0)), budget_bytes)


def of_row(row: Mapping[str, Any]) -> EngineOptions:
    on_gpu = not row.get("eager", False)
    return EngineOptions(
        precision=row["precision"],
        activation_checkpointing=row["recompute"],
        offloaded_blocks=row.get("streamed", 0),
        activation_budget=row.get("budget", 1.0),
        activation_offload=round(row.get("offload_gib", 0) * GIB),
        compiled=on_gpu,
        graphs=on_gpu,
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(str(value) for value in row.values()))
def test_predictions_hold_what_was_measured(row: Mapping[str, Any]) -> None:
    found = _shapes(row.get("generation", "2.0"))[row.get("blocks", 48)]
    training = Training(trained_weights(TrainSettings(), found)[0], row.get("optimizer", "adamw"))
    estimate = TrainingStep(sizes_of(found), BatchShape(**MEASURED["shapes"][row["shape"]]), training).estimate(
        of_row(row)
    )
    assert estimate.peak_bytes / GIB == pytest.approx(row["peak"], rel=0.10)
    assert estimate.resident_bytes / GIB == pytest.approx(row["resident"], rel=0.10)
    if "reserved" in row:
        too_much = 1.12 if row.get("streamed") else 1.10
        assert 0.90 <= estimate.needed_bytes / GIB / row["reserved"] <= too_much


@pytest.mark.parametrize(
    "line",
    [line for line in TRACED if line["date"] == NEWEST and line["budget"] in KEPT_WIDTHS],
    ids=lambda line: f"{line['row']} {line['shape']} {line['budget']}",
)
def test_what_a_budget_keeps_is_as_traced(line: Mapping[str, Any], work: TrainingStep) -> None:
    """No less is predicted where the plan itself would try it, and not much more."""
    batch = BatchShape(**MEASURED["shapes"][line["shape"]])
    eight_blocks = replace(work, batch=batch, sizes=replace(work.sizes, num_blocks=8))
    kind, _, weights = line["row"].partition("-")
    own: dict[str, Any] = {"products": "none"} if weights else {}
    budget = options(kind, activation_budget=line["budget"], **own)
    predicted = eight_blocks.estimate(budget).terms["kept activations"] / 8
    block_input = (
        eight_blocks.estimate(options(kind, activation_checkpointing=1.0, **own)).terms["residual streams"] / 8
    )
    share = predicted / (line["kept_gib"] * GIB + block_input)
    if line["budget"] in budgets_tried(budget):
        assert share > 0.94
    assert 0.78 < share < (1.14 if line["budget"] >= 0.3 else 1.40)
    if line["shape"] == "121" and line["budget"] >= 0.3:  # what the widths are of
        assert share == pytest.approx(1, rel=0.06)


@pytest.mark.parametrize("precision", ["native", "int8", "fp8"])
def test_frozen_weights_are_counted_to_the_byte(precision: Precision) -> None:
    model = build(EngineOptions(precision=precision), with_lora=False)
    shapes = {name: tuple(t.shape) for name, t in model.state_dict().items() if not name.endswith(".scale")}
    blocks = list(model.transformer_blocks.state_dict().values())
    expected = sum(t.numel() * t.element_size() for t in blocks)
    sizes = sizes_of(shapes)
    assert sizes.num_blocks * sizes.block_bytes(in_8_bits=precision != "native", item_bytes=4) == expected
    assert sizes.outside == sum(t.numel() for n, t in model.state_dict().items() if "transformer_blocks" not in n)
    assert low_precision.MULTIPLE == model_sizes.MULTIPLE


@pytest.mark.parametrize(("targets", "only"), [("audio+video", None), ("video", "video"), (("ff.net.2",), None)])
def test_trained_weights_are_counted_as_they_are_added(targets: str | tuple[str, ...], only: Any) -> None:
    model = build(EngineOptions(), with_lora=False)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    add_lora(model, target_modules(model, targets, only=only), rank=3, alpha=3, seed=0)
    added = sum(parameter.numel() for parameter in lora_parameters(model).values())
    asked = {"rank": 3, "targets": targets, "modalities": only or "audio+video"}
    assert trained_weights(TrainSettings.model_validate(asked), shapes)[0] == added


def test_what_is_no_transformer_is_told() -> None:
    with pytest.raises(CheckpointError, match="no LTX-2 transformer"):
        sizes_of({"decoder.weight": (3, 3)})


def test_a_large_card_computes_nothing_twice(work: TrainingStep) -> None:
    choice = choose(work, options(), usable_bytes(141))
    assert (choice.options.activation_checkpointing, choice.options.offloaded_blocks) == (0, 0)


@pytest.mark.parametrize("gpu_gib", [24, 32, 48])
def test_as_few_blocks_are_computed_again_as_fit(work: TrainingStep, gpu_gib: float) -> None:
    budget = usable_bytes(gpu_gib)
    choice = choose(work, options(), budget, budget=False)
    assert choice.estimate.needed_bytes <= budget
    assert choice.options.activation_budget == 1
    if choice.options.offloaded_blocks == 0:
        less = replace(choice.options, activation_checkpointing=choice.options.activation_checkpointing - 1 / 48)
    else:
        assert choice.options.activation_checkpointing == 1
        less = replace(choice.options, offloaded_blocks=choice.options.offloaded_blocks - 1)
    assert work.estimate(less).needed_bytes > budget
    assert f"activation_checkpointing {choice.options.activation_checkpointing:.2f}" in choice.why
    assert "with none of it, it would take" in choice.why


@pytest.mark.parametrize(("gpu_gib", "least", "most"), [(80, 0.99, 1), (48, 0.2, 0.4), (40, 0.05, 0.2)])
def test_parts_of_blocks_are_computed_again_before_whole_ones(
    work: TrainingStep, gpu_gib: float, least: float, most: float
) -> None:
    long, budget = replace(work, batch=LONG), usable_bytes(gpu_gib)
    choice = choose(long, options(), budget)
    kept = choice.options.activation_budget
    assert least <= kept <= most
    assert (choice.options.activation_checkpointing, choice.options.offloaded_blocks) == (0, 0)
    assert (
        long.estimate(replace(choice.options, activation_budget=BUDGETS[BUDGETS.index(kept) - 1])).needed_bytes > budget
    )
    assert f"{kept:.0%} of the others' activations kept" in choice.why


def test_whole_blocks_are_computed_again_when_parts_are_not_enough(work: TrainingStep) -> None:
    """Beside blocks of which as little is kept as may be; where all are, nothing is left to a budget."""
    some = choose(replace(work, batch=LONG), options(), usable_bytes(32)).options
    assert some.activation_budget == BUDGETS[-1]
    assert 0 < some.activation_checkpointing < 1
    assert choose(work, options(), usable_bytes(12)).options.activation_budget == 1


def test_activations_wait_on_the_host_before_products_are_made_again(work: TrainingStep) -> None:
    long, budget = replace(work, batch=LONG), usable_bytes(56)
    choice = choose(long, options(), budget, host_bytes=64 * GIB)
    found = choice.options
    assert (found.activation_budget, found.activation_checkpointing, found.offloaded_blocks) == (0.99, 0, 0)
    assert choice.estimate.needed_bytes <= budget < long.estimate(replace(found, activation_offload=0)).needed_bytes
    assert choice.estimate.host_bytes == found.activation_offload > GIB
    assert f"{found.activation_offload / GIB:.1f} GiB of them on the host" in choice.why
    assert choose(long, options(), usable_bytes(80), host_bytes=64 * GIB).options.activation_offload == 0
    assert choose(long, options(), budget, offload=False, host_bytes=64 * GIB).options.activation_budget < 0.6


def test_no_more_waits_than_half_of_what_the_host_has_beside_a_checkpoints_copy(work: TrainingStep) -> None:
    long = replace(work, batch=LONG)
    host = 6 * GIB + long.copied_bytes
    found = choose(long, options(), usable_bytes(32), host_bytes=host).options
    assert found.activation_offload == 3 * GIB
    more = choose(long, options(), usable_bytes(32), host_bytes=64 * GIB).options
    assert more.activation_offload > 3 * GIB
    assert (
        more.activation_budget > found.activation_budget
        or more.activation_checkpointing < found.activation_checkpointing
    )


@pytest.mark.parametrize(("asked", "roomy", "tight"), [(1.0, 96, 76), (0.4, 60, 42)])
def test_with_a_budget_that_was_asked_for_as_few_wait_as_fit(
    asked: float, roomy: float, tight: float, work: TrainingStep
) -> None:
    """The budget stays; nothing is sent where all fits, and whole blocks are not computed again where sending does."""
    long, mine = replace(work, batch=LONG), options(activation_budget=asked)
    easy, hard = (
        choose(long, mine, usable_bytes(card), budget=False, host_bytes=64 * GIB).options for card in (roomy, tight)
    )
    assert easy == mine
    assert hard == replace(mine, activation_offload=hard.activation_offload)
    assert hard.activation_offload > 0


def test_where_every_block_is_computed_again_nothing_waits(work: TrainingStep) -> None:
    long = replace(work, batch=LONG)
    assert choose(long, options(), usable_bytes(16), host_bytes=64 * GIB).options.activation_offload == 0
    asked = options(activation_offload=4 * GIB)
    assert choose(long, asked, usable_bytes(48), offload=False).options.activation_offload == 4 * GIB
    assert choose(long, asked, usable_bytes(16), offload=False).options.activation_offload == 0


def test_eager_blocks_have_no_budget(work: TrainingStep) -> None:
    assert choose(work, EngineOptions(precision="fp8"), usable_bytes(48)).options.activation_budget == 1


def test_blocks_are_streamed_when_computing_again_is_not_enough(work: TrainingStep) -> None:
    sixteen, twelve = (choose(work, options(), usable_bytes(gib)).options for gib in (16, 12))
    assert sixteen.activation_checkpointing == twelve.activation_checkpointing == 1
    assert 0 < sixteen.offloaded_blocks < twelve.offloaded_blocks <= 48


def test_what_is_asked_for_stays(work: TrainingStep) -> None:
    asked = options(activation_checkpointing=0.25, offloaded_blocks=40)
    assert choose(work, asked, usable_bytes(48), checkpointing=False, budget=False, stream=False).options == asked
    half = options(activation_budget=0.5)
    assert choose(work, half, usable_bytes(80), budget=False).options.activation_budget == 0.5
    assert choose(work, asked, usable_bytes(48), checkpointing=False).options.activation_checkpointing == 0.25
    assert choose(work, asked, usable_bytes(48), stream=False).options.offloaded_blocks == 40


def test_what_cannot_fit_is_refused_with_numbers(work: TrainingStep) -> None:
    with pytest.raises(OutOfMemory, match=r"needs \d+\.\d GiB .* 48 offloaded.* 3\.2 GiB can be had.*adamw_bf16 saves"):
        choose(work, options(), usable_bytes(4))
    with pytest.raises(OutOfMemory, match=r"base_precision native -> int8 saves 1\d\.\d GiB"):
        choose(work, options("native"), usable_bytes(24), stream=False)


def test_each_relief_is_what_the_prediction_says(work: TrainingStep) -> None:
    now = options(activation_checkpointing=0.43)
    saved = {relief.change: relief.saved_bytes for relief in reliefs(work, now)}
    after = work.estimate(replace(now, activation_checkpointing=1.0)).peak_bytes
    assert saved["activation_checkpointing 0.43 -> 1"] == work.estimate(now).peak_bytes - after
    assert (
        f"activation_checkpointing 0.43 -> 1 saves {saved['activation_checkpointing 0.43 -> 1'] / GIB:.1f} GiB"
        in advice(work, now)
    )
    lean = work.estimate(replace(now, activation_budget=0.99)).peak_bytes
    assert saved["activation_budget 1 -> 0.99"] == work.estimate(now).peak_bytes - lean > GIB
    assert saved["activation_budget 1 -> 0.05"] > saved["activation_budget 1 -> 0.99"]
    assert "base_precision native -> int8" not in saved
    assert not any("batch_size" in relief.change for relief in reliefs(replace(work, batch=LONG), now))


def test_memory_grows_with_what_it_is_for(work: TrainingStep) -> None:
    now = options(activation_checkpointing=0.5)
    peak = work.estimate(now).peak_bytes
    assert replace(work, batch=replace(SMALL, by_token=True)).estimate(now).peak_bytes > peak
    assert replace(work, sizes=replace(work.sizes, connectors=10**9)).estimate(now).peak_bytes == peak + 2 * 10**9
    assert work.estimate(replace(now, activation_budget=0.5)).peak_bytes < peak
    averaged = replace(work, training=replace(work.training, methods=MethodMemory(averaged=True))).estimate(now)
    assert averaged.peak_bytes == peak + 4 * work.training.num_trained
    native = options("native", activation_checkpointing=1.0)
    cut = replace(work, training=replace(work.training, shards=2)).estimate(native).terms["frozen weights"]
    assert math.isclose(cut, work.estimate(native).terms["frozen weights"] / 2, rel_tol=0.05)


def test_more_streamed_blocks_than_there_are_is_refused(work: TrainingStep) -> None:
    with pytest.raises(ConfigError, match="49 offloaded blocks; the model has 48"):
        work.estimate(options(offloaded_blocks=49))


def test_streamed_weights_are_counted_on_the_host(work: TrainingStep) -> None:
    sizes: ModelSizes = work.sizes
    estimate = work.estimate(options(offloaded_blocks=48))
    assert estimate.host_bytes == 48 * sizes.block_bytes(in_8_bits=True, item_bytes=2)
    assert sum(estimate.terms.values()) == estimate.peak_bytes


def test_what_is_kept_is_not_counted_again_as_work(work: TrainingStep) -> None:
    kept = work.estimate(options(activation_checkpointing=0.0)).terms["one block's work"]
    assert kept == work.sizes.block_products
    assert work.estimate(options(activation_checkpointing=0.5)).terms["one block's work"] > kept


def test_not_one_block_more_is_streamed_than_must_be(work: TrainingStep) -> None:
    budget = work.estimate(options(activation_checkpointing=1.0, offloaded_blocks=4)).needed_bytes
    assert choose(work, options(), budget).options.offloaded_blocks == 4
