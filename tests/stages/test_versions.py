"""The program is a part of what a result is made of: another version of a stage, or of what it computes with, is
another result. Generated over STAGES and SUBJECTS, so that a new one is covered the moment it is there.
"""

import json
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tasks as tasks_module
from flows import run as pipeline_module
from flows.plan import Selection, plan
from ltx_core.io.atomic import find_whole
from tasks import STAGES, stage_named
from tasks.runtime.stage import DECODING, SUBJECTS, Stage, Subject
from tests.stages import bench as bench_module
from tests.stages.bench import Bench, Results, set_aside
from tests.stages.conftest import Elsewhere

pytestmark = pytest.mark.whole

FIRST = ("split", "encode_latents", "train_lora")
"""A stage of each kind of item; the others, and all subjects but the decoding of media, in the longest tests."""

each_stage = pytest.mark.parametrize(
    "stage",
    [pytest.param(one, id=one.name, marks=() if one.name in FIRST else pytest.mark.extra) for one in STAGES],
)
each_subject = pytest.mark.parametrize(
    "subject",
    [pytest.param(one, id=one.name, marks=() if one == DECODING else pytest.mark.extra) for one in SUBJECTS],
)


def release(patch: pytest.MonkeyPatch, *stages: Stage) -> None:
    """The program from now on: these stages instead of those of the same names."""
    newer = {stage.name: stage for stage in stages}
    for module in (tasks_module, pipeline_module, bench_module):
        patch.setattr(module, "STAGES", tuple(newer.get(stage.name, stage) for stage in STAGES))


def raised(stage: Stage, subject: Subject) -> Stage:
    """The stage with the next version of one of its subjects."""
    newer = replace(subject, version=subject.version + 1)
    return changed(stage, subjects=tuple(newer if one == subject else one for one in stage.subjects))


def changed(stage: Stage[Any, Any], **attributes: Any) -> Stage[Any, Any]:
    """A stage that differs in these attributes alone."""
    other = copy(stage)
    vars(other).update(attributes)
    return other


@each_stage
def test_another_version_of_a_stage_makes_it_and_its_items_anew(
    stage: Stage, bench: Bench, made: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = changed(stage, version=stage.version + 1)
    decision = bench.due(newer, made).decided
    assert not decision.reusable
    assert decision.why == f"the program's version of this stage changed: {stage.version} -> {stage.version + 1}"
    release(monkeypatch, newer)
    before = items(bench, stage.name)
    again = bench.run(stage.name)
    assert [name for name, result in again.items() if result.built] == [stage.name]
    assert again[stage.name].summary.computed == again[stage.name].summary.num_out > 0
    assert len(items(bench, stage.name)) == 2 * len(before), "each item has another key"
    assert not any(result.built for result in bench.run(stage.name).values()), "nothing is computed twice"


@each_subject
def test_another_version_of_a_subject_reaches_every_stage_that_computes_with_it(
    subject: Subject, bench: Bench, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = [stage for stage in STAGES if subject in stage.subjects and stage.name in results]
    assert len(reached) > 1, "a subject of one stage is that stage's own version"
    for stage in reached:
        decision = bench.due(raised(stage, subject), results).decided
        assert decision.why == (
            f"the program's version of {subject.name} changed: {subject.version} -> {subject.version + 1}"
        )
    release(monkeypatch, *(raised(stage, subject) for stage in reached))
    again = bench.run("render_validation")
    for stage in reached:
        summary = again[stage.name].summary
        assert again[stage.name].built
        assert summary.computed == summary.num_out, stage.name


def test_who_opens_media_says_so(elsewhere: Elsewhere) -> None:
    """Whatever stage decodes a file depends on how that is done."""
    assert {"probe", "split", "encode_latents"} <= elsewhere.opened_media
    assert elsewhere.opened_media == {s.name for s in STAGES if DECODING in s.subjects and s.name in elsewhere.results}


def test_a_workspace_of_the_last_release_is_computed_anew_and_the_plan_says_why(bench: Bench, results: Results) -> None:
    """As version 1 left it: files without digests, no subjects, version constants among what was observed."""
    for name, result in results.items():
        folder = bench.place.stage(name, result.run.decided.key)
        identity = dict(result.run.decided.identity) | {"version": 1}
        identity["outside"] = dict(identity["outside"]) | {"feature_version": 1}
        del identity["subjects"]
        (folder / "identity.json").write_text(json.dumps(identity))
        folder.rename(folder.with_name("0" * 16))
        (folder.parent / "latest.json").write_text(json.dumps({"key": "0" * 16}))
    (probe, *later) = plan(bench.config, Selection(STAGES, frozenset()))
    assert probe.why == "the program's version of this stage changed: 1 -> 2"
    assert all(planned.why.startswith("after ") for planned in later)
    again = bench.run("encode_latents")
    assert {result.run.decided.why for result in again.values()} == {probe.why}
    assert not set_aside(again["probe"])


def items(bench: Bench, stage: str) -> list[Path]:
    """What the store holds of a stage's items."""
    pattern = stage_named(stage).items
    return find_whole(bench.place.store, pattern) if pattern else []
