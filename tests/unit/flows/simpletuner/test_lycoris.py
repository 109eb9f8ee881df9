"""`lora_type: lycoris`, with the library's configuration in a file of its own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.config import guide_warnings, load_config
from ltx_core.adapters.lycoris_settings import LycorisSettings
from ltx_core.errors import ConfigError
from tests.unit.flows.simpletuner.conftest import Load, Notices

LOKR: dict[str, Any] = {
    "algo": "lokr",
    "multiplier": 1.0,
    "linear_dim": 10000,
    "linear_alpha": 1,
    "factor": 16,
    "apply_preset": {
        "target_module": ["Attention", "FeedForward"],
        "module_algo_map": {"Attention": {"factor": 16}, "FeedForward": {"factor": 8}},
    },
}
Write = Callable[..., Path]


@pytest.fixture
def beside(project: Path) -> Callable[[Any], str]:
    """Writes the file that the option names, and gives its name from the project."""

    def place(content: Any) -> str:
        (project / "config" / "lycoris_config.json").write_text(json.dumps(content))
        return "config/lycoris_config.json"

    return place


def test_the_librarys_configuration_is_taken_as_it_is(write: Write, beside: Callable[[Any], str]) -> None:
    path = write(lora_type="lycoris", lycoris_config=beside(LOKR))
    train = load_config(path, {}).train_lora
    assert train.lycoris == LycorisSettings.model_validate(LOKR)
    assert train.rank == 32, "a plain LoRA's default, which SimpleTuner would set, is left alone"
    assert not [notice for notice in guide_warnings(path) if notice.startswith(("lora_", "lycoris"))]


def test_where_the_file_says_nothing_the_guides_defaults_count(load: Load, beside: Callable[[Any], str]) -> None:
    beside({"algo": "loha"})
    found = load(lora_type="lycoris").train_lora.lycoris
    assert found is not None
    assert found.apply_preset is not None
    assert (found.linear_dim, found.linear_alpha, found.multiplier) == (4, 1, 1)
    assert found.apply_preset.target_module == ("Attention",)


def test_a_plain_loras_rank_is_told_to_have_no_effect(notices: Notices, beside: Callable[[Any], str]) -> None:
    told = notices(lora_type="lycoris", lora_rank=64, lycoris_config=beside(LOKR))
    assert [line for line in told if line.startswith("lora_rank")] == [
        "lora_rank: has no effect with lora_type: lycoris, which has its own file"
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "no JSON object"),
        ({"algo": "boft"}, "there are lora, loha, lokr"),
        ({"algo": "lokr", "use_tucker": True}, "use_tucker"),
    ],
)
def test_what_has_no_meaning_here_is_refused(
    load: Load, beside: Callable[[Any], str], content: Any, message: str
) -> None:
    beside(content)
    with pytest.raises(ConfigError, match=message):
        load(lora_type="lycoris")


def test_a_file_that_is_no_json_is_refused(load: Load, project: Path) -> None:
    (project / "config" / "lycoris_config.json").write_text("{")
    with pytest.raises(ConfigError, match="not valid JSON"):
        load(lora_type="lycoris")
