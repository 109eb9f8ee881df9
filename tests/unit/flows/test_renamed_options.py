"""Options that were renamed: earlier names are understood and warned of, and no key changes by a rename."""

import hashlib
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from datasets_spec.options import OLD_NAMES_END, earlier_names, present_path, section
from flows.config import RunConfig, config_warnings, load_config
from flows.flows import resolve
from flows.report.record import RECORD, record_before
from ltx_core.errors import ConfigError
from ltx_core.io.json_file import write_json
from ltx_core.training.config import TrainSettings
from ltx_core.training.state import lora_metadata
from tasks import STAGES, stage_named
from tasks.runtime.decide import _shown
from tasks.runtime.workspace import Workspace
from tests.repo.source import ROOT

OLD: dict[str, Any] = {
    "datasets": [{"id": "a", "instance_data_dir": "a", "audio": {"sound_dir": "b", "missing_sound": "without"}}],
    "model": {"checkpoint": "m.safetensors"},
    "prompts": {
        "pictures": [{"picture": "a.png", "prompt": "x"}],
        "sounds": [{"sound": "a.wav", "prompt": "y"}],
    },
    "memory": {"stream_text_encoder": True},
    "train_lora": {
        "audio_given_probability": 0.25,
        "recompute": 0.5,
        "streamed_blocks": 3,
        "stream_from": "disk",
    },
    "render_validation": {
        "picture_crf": 0,
        "picture_strength": 0.5,
        "sound_to_video_clips": 2,
        "streamed_blocks": 3,
        "stream_from": "disk",
    },
}
NEW: dict[str, Any] = {
    "datasets": [{"id": "a", "instance_data_dir": "a", "audio": {"audio_dir": "b", "missing_audio": "without"}}],
    "model": {"checkpoint": "m.safetensors"},
    "prompts": {
        "images": [{"image": "a.png", "prompt": "x"}],
        "audio": [{"audio": "a.wav", "prompt": "y"}],
    },
    "memory": {"offload_text_encoder": True},
    "train_lora": {
        "audio_conditioning_probability": 0.25,
        "activation_checkpointing": 0.5,
        "offloaded_blocks": 3,
        "offload_to": "disk",
    },
    "render_validation": {
        "image_crf": 0,
        "image_strength": 0.5,
        "audio_to_video_clips": 2,
        "offloaded_blocks": 3,
        "offload_to": "disk",
    },
}
KEYS = {
    "probe": "44136fa355b3678a",
    "split": "cc19ae576dadb43a",
    "caption": "333a2966ab1faa27",
    "embed_text": "704fdb12b1b6efa4",
    "encode_latents": "bdbd5228a90e852d",
    "embed_frames": "2bbd89ac5472caef",
    "train_lora": "82f2028bec533647",
    "render_validation": "5f56e335aa2e54e0",
    "register": "d56a9337cb565f71",
    "publish": "da2232935560afdd",
}
"""Of the default options of each stage, as they were before any option was renamed, or when the stage was new."""


def leaves(values: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(values, dict | list):
        for name, value in values.items() if isinstance(values, dict) else enumerate(values):
            yield from leaves(value, f"{place}.{name}" if place else str(name))
    else:
        yield place, values


def renamed_in(model: type[BaseModel], before: str = "") -> Iterator[tuple[str, str]]:
    """Earlier and present dotted name of every option that was renamed."""
    yield from ((before + old, before + name) for old, name in earlier_names(model).items())
    for name, field in model.model_fields.items():
        if (inner := section(field.annotation)) and before.count(".") < 3:
            yield from renamed_in(inner, f"{before}{name}.")


def digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def config_in_key(stage: Any, config: BaseModel) -> str:
    left_out = set(stage.not_in_key | stage.by_content)
    return digest(config.model_dump(mode="json", exclude=left_out, by_alias=True))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "ltx2-lora.yaml"
    path.write_text(yaml.safe_dump(OLD))
    return path


def test_the_example_has_every_option_that_was_renamed() -> None:
    named = {name.rpartition(".")[2] for name, _ in leaves(OLD)} | {"pictures", "sounds"}
    assert {old.rpartition(".")[2] for old, _ in renamed_in(RunConfig)} <= named


def test_a_file_with_earlier_names_is_the_file_with_present_ones(written: Path) -> None:
    new = written.with_name("new.yaml")
    new.write_text(yaml.safe_dump(NEW))
    assert load_config(written, {}) == load_config(new, {})
    assert config_warnings(new, {}) == ()


def test_each_earlier_name_is_warned_of_with_the_present_one_and_the_end(written: Path) -> None:
    warnings = config_warnings(written, {})
    assert len(warnings) == len(list(renamed_in(RunConfig))), "each is in it once"
    assert (
        "option 'datasets.0.audio.sound_dir' is now called 'datasets.0.audio.audio_dir'; the earlier name is "
        f"understood until release {OLD_NAMES_END}" in warnings
    )


@pytest.mark.parametrize("name", ["train_lora.recompute", "datasets.0.audio.sound_dir", "prompts.pictures.0.seed"])
@pytest.mark.parametrize("file", [OLD, NEW], ids=["earlier", "present"])
def test_an_override_by_the_earlier_name_replaces_the_option(name: str, file: dict[str, Any]) -> None:
    value = "c" if name.endswith("dir") else 1
    now = ".".join(present_path(name.split("."), RunConfig))
    assert now != name
    assert load_config(file, {name: value}) == load_config(file, {now: value})
    assert any(repr(name) in line and repr(now) in line for line in config_warnings(file, {name: value}))


def test_an_override_of_a_section_may_have_earlier_names() -> None:
    config = load_config(NEW, {"train_lora": {"recompute": 0.75}})
    assert config.train_lora.activation_checkpointing == 0.75


def test_parameters_of_a_flow_may_have_earlier_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    config = resolve(OLD, {"train_lora.streamed_blocks": 7})
    assert config.train_lora.offloaded_blocks == 7
    assert config.datasets[0].audio.missing_audio == "without"
    assert OLD["train_lora"]["streamed_blocks"] == 3, "what was passed is left as it was"


def test_an_option_by_both_names_is_refused() -> None:
    both = NEW | {"train_lora": {"recompute": 0.5, "activation_checkpointing": 0.25}}
    with pytest.raises(ConfigError, match=r"'train_lora\.recompute' is the earlier name of 'train_lora\.activation_ch"):
        load_config(both, {})


@pytest.mark.parametrize("name", ["recompte", "activation_checkpoint"])
def test_an_unknown_name_still_has_a_near_one(name: str) -> None:
    with pytest.raises(ConfigError, match="did you mean 'activation"):
        load_config(NEW | {"train_lora": {name: 1}}, {})


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_no_key_changes_by_a_rename(stage: Any) -> None:
    assert config_in_key(stage, stage.config()) == KEYS[stage.name]


def test_keys_of_options_that_were_renamed_are_what_they_were() -> None:
    train, render = TrainSettings(**NEW["train_lora"]), stage_named("render_validation")
    assert train.digest() == "d6cf246b0e258007363cafeb1629223b"
    assert digest(lora_metadata(train, 5, train.digest(), {})) == "fdc826f9df7e95ad"
    adapters = [{"name": "a", "adapters": ["x/y:z.safetensors"], "stg": 0.0}]
    config = render.config(**NEW["render_validation"], adapters=adapters)
    assert config_in_key(render, config) == "9f53f032ab1b7d92"


def test_a_plan_names_changed_options_by_their_present_names() -> None:
    shown = _shown({"config": {"audio_given_probability": 0.5}}, stage_named("train_lora"))
    assert shown == {"config": {"audio_conditioning_probability": 0.5}}


def test_the_record_of_an_earlier_run_has_present_names(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    settings = {"prompts.pictures.0.picture": "a.png", "train_lora.recompute": "auto", "gone.option": 1}
    folder = place.runs / "earlier"
    folder.mkdir(parents=True)
    write_json(folder / RECORD, {"settings": settings, "figures": {}})
    before = record_before(place, "now")
    assert before is not None
    assert before.settings == {
        "prompts.images.0.image": "a.png",
        "train_lora.activation_checkpointing": "auto",
        "gone.option": 1,
    }


def test_earlier_names_end_when_they_were_to_end() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    now, end = ([int(part) for part in text.split(".")[:2]] for text in (version, OLD_NAMES_END))
    assert now < end, "take out what understands earlier names, and this test; aliases stay, since keys have them"


def test_no_earlier_name_is_the_present_name_of_another_option() -> None:
    for old, new in renamed_in(RunConfig):
        assert ".".join(present_path(new.split("."), RunConfig)) == new, (old, new)
