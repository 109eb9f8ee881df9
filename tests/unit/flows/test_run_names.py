"""A run's name says what differs from the run before."""

from typing import Any

import pytest

from flows.report.record import EarlierRun, changes, run_label

SETTINGS: dict[str, Any] = {
    "memory.device": "auto",
    "render_validation.num_steps": 8,
    "tracking.uri": None,
    "train_lora.learning_rate": 0.0001,
    "train_lora.rank": 32,
    "train_lora.steps": 2000,
    "train_lora.tread_routes": [],
}


def after(**differing: Any) -> str:
    before = EarlierRun("earlier", SETTINGS | {f"train_lora.{k}": v for k, v in differing.items()}, {})
    return run_label(SETTINGS, before, 24)


def test_the_first_run_is_named_by_rank_steps_and_clips() -> None:
    assert run_label(SETTINGS, None, 24) == "rank 32, 2000 steps, 24 clips"
    assert run_label(SETTINGS, None) == "rank 32, 2000 steps", "clips are not known when it begins"
    assert run_label(SETTINGS, None, 1).endswith(", 1 clip")


def test_a_later_run_is_named_by_what_differs() -> None:
    assert after(rank=64) == "rank 32, 24 clips"
    assert after(tread_routes=[1]) == "tread routes [], 24 clips"
    assert after() == "same settings, 24 clips"


def test_many_differences_are_counted_and_the_telling_ones_come_first() -> None:
    before = EarlierRun("earlier", dict.fromkeys(SETTINGS, "other"), {})
    assert run_label(SETTINGS, before, 9) == "learning rate 0.0001, rank 32, 2000 steps, 2 more, 9 clips"


@pytest.mark.parametrize("option", ["tracking.uri", "memory.device"])
def test_what_leaves_the_result_as_it_is_names_no_run(option: str) -> None:
    before = EarlierRun("earlier", SETTINGS | {option: "other"}, {})
    assert run_label(SETTINGS, before, 24) == "same settings, 24 clips"
    assert [change.option for change in changes(before.settings, SETTINGS)] == [option], "the report tells it"


def test_options_that_came_or_went_are_changes() -> None:
    before = EarlierRun("earlier", SETTINGS | {"prompts.audio.0.prompt": "x"}, {})
    assert run_label(SETTINGS, before, 24) == "without earlier options, 24 clips", (
        "what is gone has no value to be named by"
    )
    gone = changes({"a": None, "b": 1}, {"b": 1, "c": 2})
    assert [(one.option, one.before, one.now) for one in gone] == [("c", None, 2), ("a", None, None)]


def test_a_long_value_is_cut() -> None:
    before = EarlierRun("earlier", SETTINGS, {})
    named = run_label(SETTINGS | {"model.checkpoint": "a/very/long/path/of/a/checkpoint.safetensors"}, before, 2)
    assert named == "checkpoint a/very/long/path/of/a/c…, 2 clips"


def test_options_that_the_earlier_program_did_not_have_are_no_change_at_their_defaults() -> None:
    earlier = {"train_lora.rank": 32, "train_lora.rollout": None, "datasets.0.id": "a"}
    now = earlier | {"train_lora.ema_decay": None, "datasets.0.repeats": 1, "train_lora.samples.num_steps": 12}
    assert changes(earlier, now) == []
    assert [c.option for c in changes(earlier, now | {"train_lora.ema_decay": 0.9})] == ["train_lora.ema_decay"]
    switched_on = {k: v for k, v in now.items() if k != "train_lora.rollout"} | {"train_lora.rollout.probability": 0.5}
    assert [c.option for c in changes(earlier, switched_on)] == ["train_lora.rollout.probability", "train_lora.rollout"]
    second = now | {"datasets.1.id": "b", "datasets.1.repeats": 1}
    assert [c.option for c in changes(earlier, second)] == ["datasets.1.id"]
