"""What every stage promises. A new stage is covered the moment it is in STAGES."""

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel

from flows.config import load_config
from ltx_core.errors import ConfigError
from tasks import STAGES
from tasks.runtime.stage import Stage, identity_key
from tests.stages.bench import CAPTIONS, Bench, Results, set_aside, tree
from tests.stages.conftest import Elsewhere, is_of_captions

pytestmark = pytest.mark.whole


@pytest.fixture
def there(request: pytest.FixtureRequest, ready: Bench, tmp_path: Path) -> Elsewhere:
    """What the stages made of the same input in another workspace."""
    if not is_of_captions(request):
        return cast(Elsewhere, request.getfixturevalue("elsewhere"))
    return Elsewhere(ready.but(workspace=tmp_path / "there").run(CAPTIONS), frozenset())


each_stage = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)


@each_stage
def test_rows_are_of_the_declared_kind_and_in_order(stage: Stage, made: Results) -> None:
    rows = list(made[stage.name].manifest)
    assert rows
    assert {type(row) for row in rows} == {stage.makes}
    keys = [row.key for row in rows]
    assert keys == sorted(set(keys))


@each_stage
def test_counts_balance(stage: Stage, made: Results) -> None:
    summary, aside = made[stage.name].summary, set_aside(made[stage.name])
    assert summary.stage == stage.name
    assert summary.num_in > 0
    assert summary.num_in == summary.num_out + summary.num_quarantined
    assert summary.computed + summary.reused == summary.num_out
    assert summary.num_quarantined == len(aside) == sum(summary.quarantined_by_reason.values())
    if stage.items:
        assert summary.num_out == len(made[stage.name].manifest)


@each_stage
def test_second_decision_reuses_and_writes_nothing(stage: Stage, bench: Bench, made: Results) -> None:
    before = tree(bench.workspace)
    decision = bench.due(stage, made).decided
    assert decision.reusable
    assert decision.why == "unchanged"
    assert tree(bench.workspace) == before


@each_stage
def test_same_input_elsewhere_gives_the_same(stage: Stage, made: Results, there: Elsewhere) -> None:
    here, other = made[stage.name], there.results[stage.name]
    assert here.manifest.path != other.manifest.path
    assert here.run.decided.key == other.run.decided.key
    assert [row.content() for row in here.manifest] == [row.content() for row in other.manifest]
    assert here.manifest.digest == other.manifest.digest


@each_stage
@pytest.mark.parametrize("how", ["manifest torn", "folder deleted"])
def test_torn_output_is_redone(stage: Stage, how: str, bench: Bench, made: Results) -> None:
    folder = bench.place.stage(stage.name, made[stage.name].run.decided.key)
    _tear(folder, how)
    redone = bench.run(stage.name)[stage.name]
    assert redone.built
    assert redone.manifest.path.parent == folder
    assert redone.manifest.digest == made[stage.name].manifest.digest
    if stage.items:
        assert redone.summary.computed == 0
    assert not list(folder.glob("*partial*"))


def test_torn_training_goes_on_from_its_last_checkpoint(bench: Bench, made: Results) -> None:
    _tear(bench.place.stage("train_lora", made["train_lora"].run.decided.key), "manifest torn")
    figures = bench.run("train_lora")["train_lora"].summary.figures
    assert figures["resumed_from_step"] == figures["steps"] == 2


@each_stage
def test_unknown_option_is_refused(stage: Stage, empty: Bench) -> None:
    wrong, near = _misspelt(stage.config)
    with pytest.raises(ConfigError) as caught:
        load_config(empty.values, {f"{stage.name}.{wrong}": 1})
    assert f"unknown option '{stage.name}.{wrong}'" in str(caught.value)
    assert (f"did you mean {near!r}" if near else "docs/config.md") in str(caught.value)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # the other value need not be a possible one
@each_stage
def test_only_options_that_change_the_result_change_the_key(stage: Stage, ready: Bench, made: Results) -> None:
    section = ready.config.stage_config(stage.name)
    kept = _key(stage, ready, made)
    for name in type(section).model_fields.keys() - stage.by_content:
        other = section.model_copy(update={name: _other(getattr(section, name))})
        changed = _key(stage, ready, made, section=other) != kept
        assert changed == (name not in stage.not_in_key), f"{stage.name}.{name}"
    assert stage.not_in_key | stage.by_content <= type(section).model_fields.keys()
    assert not stage.not_in_key & stage.by_content


@each_stage
@pytest.mark.parametrize(
    "option",
    [{"memory__cpu_threads": 2}, {"memory__device": "auto"}, {"limits__max_quarantined_fraction": 1.0}],
    ids=lambda option: next(iter(option)),
)
def test_where_it_runs_does_not_change_the_key(
    stage: Stage, option: dict[str, Any], ready: Bench, made: Results
) -> None:
    assert _key(stage, ready.set(**option), made) == made[stage.name].run.decided.key


@each_stage
def test_needs_decide_the_key(stage: Stage, ready: Bench, made: Results) -> None:
    """Whatever a stage reads of what it needs, another content of it is another key."""
    run = ready.due(stage, made)
    inputs, identity = run.inputs, run.identity()
    whole = {name: made[name].manifest.digest for name in stage.read_of(made)}
    assert identity["inputs"].keys() == whole.keys()
    assert {n: d for n, d in identity["inputs"].items() if n not in stage.reads} == {
        n: d for n, d in whole.items() if n not in stage.reads
    }
    assert all(identity["inputs"][name] == read(inputs) for name, read in stage.reads.items())


@each_stage
def test_force_makes_it_anew_and_the_same(stage: Stage, bench: Bench, made: Results) -> None:
    forced = bench.run(stage.name, force=stage.name)[stage.name]
    assert forced.built
    assert forced.summary.computed == forced.summary.num_out
    assert forced.manifest.digest == made[stage.name].manifest.digest


def _key(stage: Stage, bench: Bench, made: Results, *, section: BaseModel | None = None) -> str:
    run = bench.asked(stage, made)
    return identity_key(replace(run, config=section or run.config).identity())


def _other(value: Any) -> Any:
    """Another value of the same kind. Not validated: what matters is that it differs."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return f"{value}-other"


def _misspelt(config: type[BaseModel]) -> tuple[str, str | None]:
    """A name near to one of the section's options, and the option it is nearest to, if there is any."""
    names = list(config.model_fields)
    if not names:
        return "wrong", None
    wrong = names[0][:-1]
    return wrong, difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)[0]


def _tear(folder: Path, how: str) -> None:
    manifest = folder / "manifest.parquet"
    match how:
        case "manifest torn":
            manifest.rename(folder / ".partial-1-manifest.parquet")
        case "folder deleted":
            for path in sorted(folder.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            folder.rmdir()
