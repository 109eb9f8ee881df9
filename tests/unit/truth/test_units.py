"""Experiments name arms, footage and options that are there; each arm is trained once a seed, after what it needs."""

import json
from pathlib import Path

import pytest

from benchmarks.truth import page
from benchmarks.truth.__main__ import LEFT_EXIT, main
from benchmarks.truth.arms import ARMS
from benchmarks.truth.experiments import EXPERIMENTS, experiment_named
from benchmarks.truth.schedule import Schedule
from benchmarks.truth.units import Unit, core_minutes, units
from benchmarks.truth.worlds import RENDERED, WORLDS, rendered_specs, still_specs
from ltx_core.training.config import FREE_TO_CHANGE, TrainSettings


@pytest.mark.parametrize("name", ARMS)
def test_options_of_an_arm_are_options_of_training(name: str) -> None:
    arm = ARMS[name]
    assert TrainSettings.model_validate({**arm.settings, "seed": 1}).steps == arm.settings["steps"]
    assert TrainSettings.model_validate(arm.settings_of(7)).steps in (1, 7)
    assert arm.world in WORLDS


def test_an_arm_whose_key_is_another_s_is_apart() -> None:
    """Else it would be given the other's LoRA, and any claim that both are equal would hold."""
    keys: dict[str, str] = {}
    for name, arm in ARMS.items():
        settings = TrainSettings.model_validate(arm.settings)
        key = f"{arm.world} {settings.model_dump_json(exclude=set(FREE_TO_CHANGE), by_alias=True)}"
        if arm.settings["steps"] > 1 and not arm.is_apart:
            assert key not in keys, f"{name} and {keys[key]}"
            keys[key] = name
    plain = TrainSettings.model_validate(ARMS["plain"].settings)
    for name in ("offloaded", "checkpointed"):
        assert ARMS[name].is_apart
        assert TrainSettings.model_validate(ARMS[name].settings) != plain


def test_every_arm_belongs_to_an_experiment() -> None:
    assert {arm for experiment in EXPERIMENTS for arm in experiment.arms} == set(ARMS)
    assert len({experiment.name for experiment in EXPERIMENTS}) == len(EXPERIMENTS)


def test_no_clip_shows_what_is_rendered() -> None:
    shown = [spec for specs in (*rendered_specs().values(), still_specs()) for spec in specs]
    assert len({*shown}) == len(shown) > 2 * RENDERED
    for world in WORLDS.values():
        clips = [*world.trained, *world.held_out]
        assert len(clips) == len({*clips}) == world.num_trained + world.num_held_out
        assert not {*clips} & {*shown}


def test_units_come_once_and_after_what_they_need() -> None:
    found = units(EXPERIMENTS)
    assert len(found) == len(set(found))
    for place, unit in enumerate(found):
        assert all(found.index(need) < place for need in unit.after)
    seeds = [unit.seed for unit in found]
    assert seeds == sorted(seeds)
    crepa = next(unit for unit in found if unit.name == "crepa")
    assert [need.kind for need in crepa.after] == ["world", "encoder"]
    plain = next(unit for unit in found if unit.name == "plain")
    assert [need.label for need in plain.after] == ["world pink bell", "arm base, seed 1"]


def test_fewer_experiments_and_seeds_cost_less() -> None:
    few = units([experiment_named("conditioning")], 1)
    assert {unit.name for unit in few} == {"known", "text", "first frame", "audio", "prefix", "region"}
    assert 0 < core_minutes(few) < core_minutes(units(EXPERIMENTS))


def test_what_is_done_is_not_done_again_and_time_is_kept(tmp_path: Path) -> None:
    lines: list[str] = []
    one, two = Unit("world", "known"), Unit("arm", "text", 1)

    def schedule(done: set[Unit]) -> Schedule:
        return Schedule(tmp_path, "cpu", 1, [], done.__contains__, lines.append)

    assert schedule({one, two}).run([one, two], 2, None)
    assert not schedule({one}).run([one, two], 2, -1.0)
    assert lines == ["2 of 2 units are done already", "1 of 2 units are done already"]


def test_the_plan_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--plan", "--out", str(tmp_path / "truth"), "--only", "conditioning", "--seeds", "1"]) == 0
    assert "6 units, 5 of them arms at a seed" in capsys.readouterr().out
    assert not (tmp_path / "truth").exists()


def test_no_time_is_an_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path), "--only", "conditioning", "--seconds", "-1"]) == LEFT_EXIT
    assert "0 of 11 units are done already" in capsys.readouterr().out


def test_kept_results_are_not_made_again_if_they_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    for name, steps, figures in (("text-1", 1, {}), ("plain-1", 120, {}), ("tread-1", 120, {"seconds a step": 0.3})):
        (kept / f"{name}.json").write_text(json.dumps({"training": {"steps": steps}, "figures": figures}))
    monkeypatch.setattr(page, "RESULTS", kept)
    words = ["--kept", "--out", str(tmp_path / "out"), "--seconds", "-1", "--only", "conditioning", "tread"]
    assert main(words) == LEFT_EXIT
    assert sorted(path.stem for path in (tmp_path / "out" / "results").iterdir()) == ["text-1", "tread-1"]
    assert "2 of 21 units are done already" in capsys.readouterr().out
