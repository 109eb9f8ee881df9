"""Options of samples: what they name, what they ask for, and what they take of a GPU's memory."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from ltx_core.memory.plan import GIB, usable_bytes
from ltx_core.memory.training import SampleWork
from ltx_core.memory.transformer import BatchShape
from ltx_core.training.config import TrainSettings
from ltx_core.training.plan_settings import Bucket, bucket_of, planned, workload
from tasks.runtime.shared import PromptConfig, Shared
from tasks.stages.samples.requested import sample_line, sample_requests
from tests.released_header import transformer_shapes

SMALL, LONG = bucket_of("832x480@17", 25, 100), bucket_of("768x512@121", 24, 10)


def settings(**samples: Any) -> TrainSettings:
    return TrainSettings.model_validate({"samples": samples})


def shared(*prompts: str) -> Shared:
    return Shared.model_construct(prompts=PromptConfig(validation=prompts))


def test_samples_name_no_lora() -> None:
    assert settings(every_steps=7, seeds=[1]).digest() == TrainSettings().digest()


def test_by_default_the_bucket_that_is_trained_on_most_is_rendered() -> None:
    found = sample_requests(settings(), shared("a", "b", "c"), [LONG, SMALL])
    assert [request.prompt for request in found] == ["a", "b"]
    assert {(r.width, r.height, r.num_frames, r.frame_rate, r.seed) for r in found} == {(832, 480, 17, 25, 42)}
    assert "2 samples every 500 steps" in sample_line(settings(), found)


def test_what_is_asked_for_is_rendered() -> None:
    asked = settings(width=256, height=128, num_frames=50, frame_rate=12, seeds=[1, 2], max_prompts=1, video_cfg=1)
    found = sample_requests(asked, shared("a", "b"), [LONG])
    assert [(r.prompt, r.seed) for r in found] == [("a", 1), ("a", 2)]
    assert {(r.width, r.height, r.num_frames, r.frame_rate) for r in found} == {(256, 128, 49, 12)}
    assert found[0].guidance.video.cfg == 1


@pytest.mark.parametrize(
    ("asked", "buckets", "prompts"),
    [
        (settings(every_steps=0), [SMALL], ["a"]),
        (settings(every_steps=2001), [SMALL], ["a"]),  # no step would have any
        (settings(), [SMALL], []),
        (settings(), [], ["a"]),
    ],
)
def test_none_are_rendered(asked: TrainSettings, buckets: list[Bucket], prompts: list[str]) -> None:
    assert sample_requests(asked, shared(*prompts), buckets) == ()


def test_the_first_and_the_last_step_have_samples() -> None:
    samples = settings(every_steps=500).samples
    assert [step for step in range(0, 1201, 100) if samples.are_due_at(step, 1200)] == [0, 500, 1000, 1200]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"width": 64}, "give both or neither"),
        ({"schedule": "distilled", "num_steps": 12}, "exactly 8"),
        ({"width": 60, "height": 64}, "multiple of 32"),
        ({"every_steps": -1}, "greater than or equal to 0"),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        settings(**wrong)


@pytest.fixture(scope="module")
def work() -> Any:
    shapes: dict[str, Any] = {"transformer": transformer_shapes(), "connectors": {"layer": (1000, 1000)}}
    return workload(TrainSettings(), [LONG], shapes)


SAMPLES = SampleWork(BatchShape(1, 6144, 126, 1024), 5 * GIB)


def test_the_estimate_names_samples(work: Any) -> None:
    """A graph keeps a step's memory while samples are rendered; without one, samples use what steps leave free."""
    graph = replace(work, samples=SAMPLES, asked=replace(work.asked, graphs=True))
    assert graph.estimate(graph.asked).terms["samples"] == 5 * GIB
    assert "samples 5.00" in graph.estimate(graph.asked).describe()
    without = replace(graph, samples=None)
    assert graph.estimate(graph.asked).peak_bytes - without.estimate(graph.asked).peak_bytes == 5 * GIB
    eager = replace(graph, asked=replace(graph.asked, graphs=False))
    assert eager.estimate(eager.asked).terms["samples"] == 0
    small = replace(eager, samples=replace(SAMPLES, decoding_bytes=0))
    assert small.estimate(replace(eager.asked, graphs=True)).terms["samples"] > 0, "a forward takes memory too"


@pytest.mark.parametrize("gib", [24, 32, 48, 80])
@pytest.mark.parametrize("precision", ["native", "int8"])
def test_samples_leave_the_activation_budget_as_it_is(gib: float, precision: str, work: Any) -> None:
    """The budget rounds, so a run with samples would train other bytes; all else is planned so that both fit."""
    own = TrainSettings.model_validate({"base_precision": precision})
    bare, alone = planned(own, work, usable_bytes(gib), 64 * GIB)
    both, beside = planned(own, replace(work, samples=SAMPLES), usable_bytes(gib), 64 * GIB)
    assert both.activation_budget == bare.activation_budget
    assert beside.estimate.fits(usable_bytes(gib))
    assert alone.estimate.fits(usable_bytes(gib))
