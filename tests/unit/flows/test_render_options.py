"""What may be said of validation renders, what is refused, and what gets a notice."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from flows.config import RunConfig, load_config
from flows.plan import as_configured
from ltx_core.adapters.locate import HubAdapter
from ltx_core.errors import ConfigError
from ltx_core.hub.repository import Repository
from ltx_core.sampling import guidance as official
from tasks.runtime.shared import NEGATIVE_PROMPT
from tasks.stages.render_validation import RenderValidation
from tests.unit.flows.conftest import Write

DISTILLED = "Lightricks/LTX-2-19b-distilled-lora-384:ltx-2-19b-distilled-lora-384.safetensors"
FAST = {"num_steps": 8, "schedule": "distilled", "video_cfg": 1, "audio_cfg": 1}


def notices(config: RunConfig) -> list[str]:
    stage = RenderValidation()
    return list(stage.warnings(as_configured(stage, config)))


def test_one_adapter_is_a_text(write: Write, tmp_path: Path) -> None:
    """The guide's `validation_adapter_path`."""
    config = load_config(write(render_validation={"adapters": [DISTILLED, "loras/mine.safetensors"]}), {})
    first, second = config.render_validation.adapters
    repository, _, file = DISTILLED.partition(":")
    assert first.name == "ltx-2-19b-distilled-lora-384"
    assert first.adapters[0].place() == HubAdapter(Repository(repository), file)
    assert second.adapters[0].place() == tmp_path / "loras" / "mine.safetensors", "relative to the configuration"
    assert (second.name, second.adapters[0].strength) == ("mine", 1.0)


def test_runs_of_several_adapters(write: Write) -> None:
    """The guide's `validation_adapter_config`: several runs, each with its adapters, strengths and settings."""
    runs = [
        {"name": "fast", "adapters": DISTILLED, **FAST},
        {
            "name": "camera",
            "adapters": [
                {"hub": "Lightricks/camera:dolly-in.safetensors", "revision": "v1"},
                {"path": "a", "strength": 0.5},
            ],
            "lora": False,
        },
    ]
    config = load_config(write(render_validation={"adapters": runs}), {}).render_validation
    fast, camera = config.adapters
    assert fast.over(config).num_steps == 8
    assert fast.over(config).streams().passes() == ("conditional",)
    assert camera.over(config).num_steps == config.num_steps == 30
    assert [adapter.strength for adapter in camera.adapters] == [1.0, 0.5]
    assert camera.adapters[0].place() == HubAdapter(Repository("Lightricks/camera", "v1"), "dolly-in.safetensors")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"adapters": [{"name": "x", "adapters": [{"strength": 2}]}]}, "a path or a hub"),
        ({"adapters": [{"name": "x", "adapters": [{"path": "a", "hub": DISTILLED}]}]}, "a path or a hub"),
        ({"adapters": [{"name": "x", "adapters": [{"path": "a", "strength": 0}]}]}, "adds nothing"),
        ({"adapters": [{"name": "x", "adapters": [{"path": "a", "revision": "v1"}]}]}, "goes with hub"),
        ({"adapters": [{"name": "x", "adapters": [{"hub": "no repository"}]}]}, "owner/name:weights"),
        ({"adapters": [{"name": "x", "adapters": []}]}, "1 or more of them are wanted"),
        ({"adapters": ["a", {"name": "a", "adapters": ["b"]}]}, "two runs named 'a'"),
        ({"adapters": [{"name": "x", "adapters": ["a"], "base": False, "lora": False}]}, "render nothing"),
        ({"adapters": [{"name": "x", "adapters": ["a"], "schedule": "distilled"}]}, "run 'x': num_steps is 30"),
        ({"schedule": "distilled"}, "num_steps is 30; a distilled model takes exactly 8"),
        ({"render_without_adapters": False}, "nothing would be rendered"),
        ({"guidance": "official", "num_steps": 20}, "guidance is official, which decides num_steps too"),
        ({"guidance": "official", **FAST}, "decides audio_cfg, num_steps, schedule, video_cfg too"),
        ({"guidance": "official", "stg": 2, "stg_blocks": [1]}, "decides stg, stg_blocks too"),
        ({"guidance": "lightricks"}, "guidance"),
        ({"image_strength": 0}, "image_strength"),
        ({"image_strength": 1.1}, "image_strength"),
        ({"image_crf": 52}, "image_crf"),
        ({"inpaint_region": [0.5, 0, 0.5, 1]}, "left < right"),
    ],
)
def test_refused(write: Write, section: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(render_validation=section), {})


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({}, 0),
        ({"video_cfg": 5}, 0),
        ({"video_cfg": 2}, 0),
        ({"video_cfg": 6}, 0),
        ({"video_cfg": 6.5}, 1),
        ({"video_cfg": 1.5}, 1),
        ({"video_cfg": 1}, 1),
        (FAST, 0),
        (FAST | {"video_cfg": 3}, 1),
        ({"adapters": [{"name": "fast", "adapters": "a", **FAST}]}, 0),
        ({"adapters": [{"name": "slow", "adapters": "a", "video_cfg": 8}]}, 1),
        ({"video_cfg": 9, "render_without_adapters": False, "adapters": [{"name": "x", "adapters": "a", **FAST}]}, 0),
    ],
)
def test_guidance_out_of_the_usual_range_gets_a_notice(write: Write, section: dict[str, Any], told: int) -> None:
    found = notices(load_config(write(render_validation=section), {}))
    assert len(found) == told
    assert all("video_cfg" in notice for notice in found)


def test_other_notices(write: Write, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200)).save(tmp_path / "small.png")
    prompts = {"images": [{"image": "small.png", "prompt": "It moves."}]}
    found = notices(load_config(write(render_validation={"num_frames": 61}, prompts=prompts), {}))
    assert [" ".join(notice.split()[:3]) for notice in found] == [
        "render_validation.num_frames 61 becomes",
        "prompts.images small.png is",
    ]


def test_official_guidance_has_a_negative_prompt_that_names_faults_of_sound(write: Write) -> None:
    """Unless there is one; and nothing changes for who does not ask for it."""
    plain = load_config(write(), {})
    assert plain.prompts.negative == NEGATIVE_PROMPT
    config = load_config(write(), {"render_validation.guidance": "official"})
    assert config.prompts.negative == official.NEGATIVE_PROMPT
    assert all(fault in config.prompts.negative for fault in ("hiss", "echo", "robotic", "lips", "muffled"))
    assert config.prompts.negative in config.shared().prompts.texts(), "it is embedded"
    assert load_config(config, {}) == config, "as it goes through Prefect"
    own = load_config(write(prompts={"negative": "rain"}), {"render_validation.guidance": "official"})
    assert own.prompts.negative == "rain"


def test_a_run_with_numbers_of_its_own_is_guided_by_those(write: Write) -> None:
    runs = ["plain.safetensors", {"name": "fast", "adapters": DISTILLED, **FAST}]
    config = load_config(write(render_validation={"guidance": "official", "adapters": runs}), {}).render_validation
    plain, fast = (run.over(config) for run in config.adapters)
    assert plain.guidance == "official"
    assert (fast.guidance, fast.num_steps, fast.streams().passes()) == ("own", 8, ("conditional",))
