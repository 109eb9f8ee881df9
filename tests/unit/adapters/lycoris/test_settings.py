"""Settings as the library's own configuration names them; what has no effect is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from ltx_core.adapters.lycoris_settings import LycorisSettings
from ltx_core.errors import ConfigError
from ltx_core.training.config import TrainSettings
from ltx_core.training.plan_settings import engine_options

AS_PRINTED: dict[str, Any] = {
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
"""What configurations of other programs look like."""


def test_a_configuration_of_other_programs_is_read_as_it_is() -> None:
    settings = TrainSettings.model_validate({"lycoris": AS_PRINTED}).lycoris
    assert settings is not None
    assert settings.apply_preset is not None
    assert (settings.algo, settings.linear_dim, settings.factor) == ("lokr", 10000, 16)
    assert settings.apply_preset.module_algo_map["FeedForward"].factor == 8


def test_without_it_nothing_is_said_of_it() -> None:
    """Or the keys of every earlier run would be others."""
    assert "lycoris" not in TrainSettings().model_dump()
    assert TrainSettings().digest() != TrainSettings(lycoris=LycorisSettings()).digest()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lycoris": {"algo": "full"}}, "trains whole weights"),
        ({"lycoris": {"algo": "boft"}}, "there are lora, loha, lokr"),
        ({"lycoris": {"algo": "lokkr"}}, "'lora', 'loha' or 'lokr'"),
        ({"lycoris": {"linear_dimm": 3}}, "linear_dimm"),
        ({"lycoris": {"factor": 4}}, "factor is for algo lokr"),
        ({"lycoris": {"algo": "lokr", "factor": 0}}, "factor is 0"),
        ({"lycoris": {"algo": "loha", "full_matrix": True}}, "full_matrix is for algo lokr"),
        ({"lycoris": {"dora_wd": True, "multiplier": 0.5}}, "not linear"),
        ({"lycoris": {"apply_preset": {"target_module": ["Conv"]}}}, "Attention"),
        (
            {"lycoris": {"apply_preset": {"module_algo_map": {"FeedForward": {"dim": 2}}}}},
            "which target_module lacks",
        ),
        ({"lycoris": {"apply_preset": {"module_algo_map": {"Attention": {"factor": 2}}}}}, "which is for algo lokr"),
        ({"lycoris": {"apply_preset": {}}, "targets": "video"}, "give one of them"),
        ({"lycoris": {}, "rank": 8}, "linear_dim"),
        ({"lycoris": {}, "alpha": 8}, "linear_alpha"),
        ({"lycoris": {}, "dropout": 0.1}, "plain LoRA alone"),
        ({"lycoris": {"dora_wd": True}, "optimizer": "adamw_bf16"}, "adamw8bit"),
    ],
)
def test_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainSettings.model_validate(given)


def test_lengths_of_rows_are_not_trained_on_a_base_that_is_cut() -> None:
    settings = TrainSettings(lycoris=LycorisSettings(dora_wd=True))
    with pytest.raises(ConfigError, match=r"lycoris\.dora_wd is set"):
        engine_options(settings, device="cpu", num_blocks=2, folder=None, sharded=True)
    engine_options(settings, device="cpu", num_blocks=2, folder=None)
