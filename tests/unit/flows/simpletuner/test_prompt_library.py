"""`prompts.library`: a file of prompts by name."""

import json
from pathlib import Path

import pytest

from flows.config import load_config
from ltx_core.errors import ConfigError
from tests.unit.flows.simpletuner.conftest import Load


def test_prompts_of_the_file_follow_those_of_the_configuration(project: Path, load: Load) -> None:
    prompts = {"first": "It moves.", "second": "It turns.", "again": "It turns."}
    (project / "config" / "prompts.json").write_text(json.dumps(prompts))
    config = load(validation_prompt="It moves.", user_prompt_library="config/prompts.json")
    assert config.prompts.validation == ("It moves.", "It turns.")
    assert config.prompts.library is None, "read once; whoever gets the configuration later needs no file"
    assert load(validation_prompt_library="config/prompts.json").prompts.validation == ("It moves.", "It turns.")


def test_in_a_configuration_of_ours(tmp_path: Path) -> None:
    values = {
        "datasets": [{"id": "a", "instance_data_dir": "f"}],
        "model": {"checkpoint": "m"},
        "prompts": {"library": "prompts.json"},
    }
    (tmp_path / "run.json").write_text(json.dumps(values))
    (tmp_path / "prompts.json").write_text(json.dumps({"a": "It moves."}))
    assert load_config(tmp_path / "run.json", {}).prompts.validation == ("It moves.",)


@pytest.mark.parametrize("text", [None, "[]", '{"a": 1}', '{"a": " "}', "{"])
def test_a_file_that_is_none(project: Path, load: Load, text: str | None) -> None:
    if text is not None:
        (project / "config" / "prompts.json").write_text(text)
    with pytest.raises(ConfigError, match=r"prompts\.library"):
        load(user_prompt_library="config/prompts.json")
