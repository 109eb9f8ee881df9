"""Who knows the training methods: each its own file, the list of them, and nobody else in the loop."""

import re
from pathlib import Path

import pytest

from ltx_core.training.methods.registry import METHODS, method_of

TRAINING = Path(__file__).parents[3] / "ltx_core" / "training"
SHARED = (
    *("loop", "step", "step_losses", "objective", "batch", "draws", "metrics", "state"),
    *("evaluation", "out_of_memory", "prefetch", "order", "plan_settings", "checkpoint_writer"),
)
"""What every run goes through, and its plan. Settings and what may be drawn of a clip know options by name."""
WORDS = [word for name, method in METHODS.items() for word in (name, method.option)]
NAMED = re.compile(rf"(?i)(?<![a-z])({'|'.join(WORDS)}|reflexflow|average of the adapter)(?![a-z])")


@pytest.mark.parametrize("name", [*SHARED, "methods/method"])
def test_shared_files_name_no_method(name: str) -> None:
    text = re.sub("(caption|reference)_dropout", "", (TRAINING / f"{name}.py").read_text())  # of clips, no method
    assert not [line for line in text.splitlines() if NAMED.search(line)]


def test_the_search_would_find_them() -> None:
    for name in METHODS:
        assert NAMED.search((TRAINING / "methods" / f"{name}.py").read_text())


def test_whose_a_parameter_is_shows_in_its_name() -> None:
    assert method_of("crepa_projector.norm.weight") == "crepa"
    assert method_of("transformer_blocks.0.attn1.to_q.lora_A.weight") is None
    assert method_of("audio_proj_in.lora_A.weight") is None
