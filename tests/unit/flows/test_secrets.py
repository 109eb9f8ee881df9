"""A secret in any option: it is nowhere in what is recorded, printed or said, and whole where it is needed."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from flows.config import RunConfig, load_config
from flows.flows import kept_secret, resolve
from flows.generated import options
from flows.plan import as_configured
from ltx_core.errors import ConfigError
from tasks import stage_named
from tasks.tracking.address import WHOLE
from tests.unit.flows.conftest import Write

SECRET = "hunter2"
PLANTED = f"https://me:{SECRET}@host.example/file.safetensors?X-Amz-Signature={SECRET}"
WORDS = {
    "datasets[].instance_prompt",
    "model.revision",
    "prompts.validation",
    "prompts.images[].prompt",
    "prompts.audio[].prompt",
    "prompts.references[].prompt",
    "prompts.negative",
    "tracking.experiment",
    "tracking.run_name",
    "register.model_name",
}
"""Options that are words for people, models or the hub, kept as they are; an address among them is a word too."""
NAMES = sorted(name for name, _, _ in options(RunConfig))
FILLED: dict[str, Any] = {
    "datasets": [
        {"id": "clips", "instance_data_dir": "footage", "caption_strategy": "instanceprompt", "instance_prompt": "x"}
    ],
    "prompts": {
        "validation": ["a ball"],
        "images": [{"image": "a.png", "prompt": "x"}],
        "audio": [{"audio": "a.wav", "prompt": "x"}],
        "references": [{"reference": "a.mp4", "prompt": "x"}],
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_no_option_tells_a_secret(write: Write, name: str) -> None:
    """A new option is found here by itself: it has a type that keeps secrets, refuses them, or is listed as words."""
    value: Any = [PLANTED] if name == "prompts.validation" else PLANTED
    assert (SECRET in _told(write(**FILLED), {name.replace("[]", ".0"): value})) == (name in WORDS)


def test_there_is_an_option_that_keeps_one_and_its_child_is_told_it_whole(write: Write) -> None:
    config = load_config(write(tracking={"uri": PLANTED}), {})
    assert config.tracking.uri is not None
    assert config.tracking.uri.whole == PLANTED
    shared = config.shared()
    assert SECRET not in shared.model_dump_json()
    assert type(shared).model_validate_json(shared.model_dump_json(context=dict(WHOLE))) == shared
    register = stage_named("register")
    identity = register.observe(as_configured(register, config))
    assert identity["uri"] == "https://host.example/file.safetensors?X-Amz-Signature=***"
    assert load_config(config, {}).tracking.uri == config.tracking.uri, "a configuration that a flow is given is whole"


@pytest.mark.parametrize("overrides", [{"tracking.uri": PLANTED}, {"tracking": {"uri": PLANTED}}])
def test_what_is_typed_reaches_the_flow_and_not_prefect_s_database(write: Write, overrides: dict[str, Any]) -> None:
    parameters = kept_secret(overrides)
    assert SECRET not in TypeAdapter(dict[str, Any]).dump_json(parameters).decode() + repr(parameters)
    config = resolve(str(write()), parameters)
    assert config.tracking.uri is not None
    assert config.tracking.uri.whole == PLANTED


def test_what_a_server_gives_may_have_no_account_since_it_keeps_it(write: Write, values: dict[str, Any]) -> None:
    for config, overrides in (
        (str(write()), {"tracking.uri": PLANTED}),
        (values | {"tracking": {"uri": PLANTED}}, {}),
        (load_config(write(tracking={"uri": PLANTED}), {}), {}),
    ):
        with pytest.raises(ConfigError, match="Prefect keeps a run's parameters"):
            resolve(config, overrides)


@pytest.mark.parametrize(
    "text",
    [
        f"tracking: {{uri: '{PLANTED}', [}}",
        f"tracking: {{uri: ['{PLANTED}']}}",
        f"tracking: {{url: '{PLANTED}'}}",
        f"tracking: '{PLANTED}'",
        f"'{PLANTED}': 3",
        f"model: {{checkpoint: '{PLANTED}', flavour: '{PLANTED}'}}",
    ],
)
def test_no_message_about_a_wrong_file_tells_it(write: Write, text: str) -> None:
    path = write()
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_config(path, {})
    assert SECRET not in str(refused.value)
    assert SECRET not in json.dumps(str(refused.value))


def _told(path: Path, overrides: dict[str, Any]) -> str:
    """All that is said of a configuration: why it is refused, or what is recorded of it."""
    try:
        config = load_config(path, overrides)
    except ConfigError as refused:
        return f"{refused} {refused!r}"
    return f"{config!r} {config} {config.model_dump()} {config.model_dump_json()}"
