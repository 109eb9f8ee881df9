"""From settings and clips to the memory plan and back: what is left open is chosen, what is asked for stays."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from datasets_spec import Latent
from ltx_core.engine.options import EngineOptions
from ltx_core.errors import ConfigError, OutOfMemory
from ltx_core.memory.plan import GIB, usable_bytes
from ltx_core.memory.training import TrainingStep
from ltx_core.training.config import TrainSettings
from ltx_core.training.methods.crepa import make_projector
from ltx_core.training.methods.settings import RolloutSettings
from ltx_core.training.out_of_memory import out_of_memory_errors
from ltx_core.training.plan_settings import (
    PLANNED,
    Bucket,
    batch_shape,
    bucket_of,
    engine_options,
    largest_first,
    planned,
    trained_weights,
    workload,
)
from tasks.runtime.shared import MemoryConfig
from tasks.stages.parts.memory import buckets_of, plan_on_gpu
from tests.released_header import transformer_shapes

SMALL, LONG = bucket_of("832x480@17", 25, 100), bucket_of("768x512@121", 25, 100)


@pytest.fixture(scope="module")
def shapes() -> dict[str, Any]:
    return {"transformer": transformer_shapes(), "connectors": {"layer": (1000, 1000)}}


def of(settings: TrainSettings, shapes: dict[str, Any], buckets: Sequence[Bucket] = (SMALL, LONG)) -> TrainingStep:
    return workload(settings, buckets, shapes)


def test_tokens_are_counted_as_training_makes_them() -> None:
    two = TrainSettings(batch_size=2)
    assert batch_shape(two, SMALL) == batch_shape(two, bucket_of("832x480@17", 25, 2))
    found = batch_shape(two, SMALL)
    assert (found.size, found.video_tokens, found.audio_tokens, found.text_tokens) == (2, 1170, 17, 1024)
    assert batch_shape(two, bucket_of("832x480@17", 25, 1)).size == 1
    assert batch_shape(TrainSettings(modalities="video"), LONG).audio_tokens == 1
    assert batch_shape(TrainSettings(first_frame_probability=0.1), LONG).by_token
    assert largest_first(two, [SMALL, LONG]) == [LONG, SMALL]


def test_blocks_that_are_not_targets_train_nothing(shapes: dict[str, Any]) -> None:
    every, quarter = (
        trained_weights(TrainSettings(target_blocks=blocks), shapes["transformer"])[0] for blocks in (None, "0-11")
    )
    assert every == 4 * quarter > 0


def test_a_wrong_bucket_is_told() -> None:
    with pytest.raises(ConfigError, match="832x480@17 is wanted"):
        bucket_of("832x480", 25, 1)


def test_on_the_cpu_nothing_is_computed_again_or_streamed() -> None:
    options = engine_options(TrainSettings(), device="cpu", num_blocks=48, folder=None)
    assert (options.activation_checkpointing, options.offloaded_blocks) == (0, 0)


def test_a_gpu_wants_a_plan_first(shapes: dict[str, Any]) -> None:
    settings = TrainSettings(base_precision="fp8")
    with pytest.raises(ConfigError, match="plan it first"):
        engine_options(settings, device="cuda", num_blocks=48, folder=None)
    chosen, choice = planned(settings, of(settings, shapes), usable_bytes(32))
    options = engine_options(chosen, device="cuda", num_blocks=48, folder=None)
    assert options == choice.options
    assert 0 < options.activation_checkpointing <= 1


def test_what_the_plan_chooses_changes_no_digest(shapes: dict[str, Any]) -> None:
    settings = TrainSettings(base_precision="int8")
    chosen, _ = planned(settings, of(settings, shapes), usable_bytes(16))
    assert chosen.offloaded_blocks != "auto"
    assert chosen.digest() == settings.digest()


@pytest.mark.parametrize(
    "asked", [{"activation_checkpointing": 0.5}, {"offloaded_blocks": 40}, {"offloaded_blocks": "all"}]
)
def test_what_is_asked_for_stays(asked: dict[str, Any], shapes: dict[str, Any]) -> None:
    settings = TrainSettings(base_precision="fp8", **asked)
    chosen, choice = planned(settings, of(settings, shapes), usable_bytes(80))
    assert {name: getattr(chosen, name) for name in asked} == asked
    assert not [name for name in PLANNED if getattr(chosen, name) == "auto"]
    assert choice.options.offloaded_blocks == {"all": 48, "auto": 0}.get(str(settings.offloaded_blocks), 40)


def test_a_base_cut_among_gpus_is_not_streamed(shapes: dict[str, Any]) -> None:
    settings = TrainSettings()
    alone = of(settings, shapes)
    cut = workload(settings, [SMALL, LONG], shapes, shards=2)
    with pytest.raises(OutOfMemory, match="0 offloaded"):
        planned(settings, cut, usable_bytes(16))
    chosen, choice = planned(settings, cut, usable_bytes(48))
    assert chosen.offloaded_blocks == 0
    assert choice.estimate.terms["frozen weights"] < alone.estimate(choice.options).terms["frozen weights"]


def test_a_full_device_gives_the_plans_advice() -> None:
    advice = "activation_checkpointing 0.43 -> 1 saves 12.1 GiB"
    with pytest.raises(OutOfMemory, match=rf"full\. {advice}$"), out_of_memory_errors("training", advice):
        raise torch.OutOfMemoryError("full")


def test_buckets_are_those_that_are_trained_on() -> None:
    bucket = {"bucket": "832x480@17", "frame_rate": 25.0, "repeats": 3}
    rows = [Latent.model_construct(split=split, **bucket) for split in ("train", "eval", "train")]
    assert buckets_of(rows) == (bucket_of("832x480@17", 25.0, 6),)


def test_a_smaller_card_can_be_planned_for_on_a_larger_one(
    shapes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.stages.parts.memory.available_bytes", lambda: 64 * GIB)
    settings = TrainSettings(base_precision="int8")
    work = of(settings, shapes)
    whole, _ = plan_on_gpu(settings, work, MemoryConfig(), 140 * GIB)
    small, _ = plan_on_gpu(settings, work, MemoryConfig(gpu_gib=32), 140 * GIB)
    assert (whole.activation_checkpointing, whole.activation_offload) == (0, 0)
    assert small.activation_budget != 1
    assert small.activation_offload != 0
    assert plan_on_gpu(settings, work, MemoryConfig(gpu_gib=140), usable_bytes(32))[0] == small


def test_alignment_is_counted_with_its_projector(shapes: dict[str, Any]) -> None:
    """At 512x768x121: features of 6,144 places in half precision, twice; a projector with all that trains it."""
    off, on = of(TrainSettings(), shapes), of(TrainSettings(crepa={}), shapes)
    num_projected = sum(p.numel() for p in make_projector(4096, 1536, seed=0, device="cpu").values())
    assert on.training.num_trained - off.training.num_trained == num_projected
    options = EngineOptions(activation_checkpointing=1.0)
    terms = {name: on.estimate(options).terms[name] - size for name, size in off.estimate(options).terms.items()}
    assert terms["inputs and workspaces"] == 2 * 6144 * 1536 * 2
    assert terms["LoRA"] + terms["moments"] == 12 * num_projected
    assert terms["frozen weights"] == terms["residual streams"] == 0
    bare = EngineOptions()
    assert on.estimate(bare).terms["one block's work"] == 4 * 6144 * 3 * (4096 + 1536)
    assert off.estimate(bare).terms["one block's work"] == 0
    narrow = workload(TrainSettings(crepa={}), (SMALL, LONG), shapes, feature_width=384)
    assert narrow.estimate(bare).peak_bytes < on.estimate(bare).peak_bytes


def test_rollouts_beside_a_graph_are_counted(shapes: dict[str, Any]) -> None:
    """Without a graph they take no more than the backward does later."""
    peaks = {}
    for graphs in ("on", "off"):
        for rollout in (None, RolloutSettings()):
            settings = TrainSettings(
                batch_size=2, cuda_graphs=graphs, activation_checkpointing=1.0, offloaded_blocks=0, rollout=rollout
            )
            peaks[graphs, rollout is None] = planned(settings, of(settings, shapes), usable_bytes(80))[1].estimate
    assert peaks["off", False].peak_bytes == peaks["off", True].peak_bytes
    more = peaks["on", False].peak_bytes - peaks["on", True].peak_bytes
    assert more == peaks["on", False].terms["rollouts"]
    assert 0.5 * GIB < more < 3 * GIB
