"""Three experiments on the tiny trained model, run for real through the runner, with few steps and captions.

A LoRA of 30 steps is far from done: what it teaches is seen in the distance of the colour, which the detectors measure.
"""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.truth.__main__ import main
from benchmarks.truth.page import load, page
from benchmarks.truth.verdicts import values

pytestmark = pytest.mark.timeout(1500)
DISTANCE = "concept colour distance"
Results = dict[tuple[str, int], dict[str, Any]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    out = tmp_path_factory.mktemp("truth")
    words = ["--out", str(out), "--jobs", "2", "--steps", "30", "--captions", "2", "--seeds", "1"]
    code = main([*words, "--only", "lora", "conditioning", "memory"])
    logs = {path.name: path.read_text()[-3000:] for path in (Path(out) / "logs").glob("*.txt")}
    assert code == 0, logs
    return load(out / "results")


def of(results: Results, arm: str, figure: str) -> float:
    return values(results, arm, figure)[1]


def test_footage_of_a_concept_teaches_it_and_other_footage_does_not(results: Results) -> None:
    base, taught, other = (of(results, arm, DISTANCE) for arm in ("base", "plain", "known footage"))
    assert taught < base - 0.2
    assert taught < other - 0.2
    assert of(results, "base", "concept colour") == of(results, "base", "concept audio") == 0
    assert of(results, "plain", "eval loss") < 0.7 * of(results, "base", "eval loss")


def test_conditioning_keeps_its_part(results: Results) -> None:
    for arm, figure in (("first frame", "first frame dB"), ("prefix", "first 9 frames dB"), ("region", "outside dB")):
        assert of(results, arm, figure) > of(results, "text", figure) + 5, arm
    for arm in ("first frame", "prefix"):
        assert of(results, arm, "place error") < of(results, "text", "place error")


def test_block_offload_and_activation_checkpointing_change_nothing(results: Results) -> None:
    for arm in ("offloaded", "checkpointed"):
        for figure in ("eval loss", DISTANCE, "concept audio", "flicker"):
            assert of(results, arm, figure) == of(results, "plain", figure), arm
    assert of(results, "int8", "eval loss") == pytest.approx(of(results, "plain", "eval loss"), rel=0.05)
    assert of(results, "int8", "eval loss") != of(results, "plain", "eval loss")


def test_the_page_has_the_figures(results: Results) -> None:
    text = page(results, "")
    assert "| yes | eval loss of offloaded, against plain:" in text
    assert "6 sets of renders of the base" in text
