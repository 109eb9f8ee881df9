"""Reading a configuration: paths, overrides, formats, and what is said of mistakes."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from flows.config import RunConfig, load_config
from ltx_core.errors import ConfigError
from tests.unit.flows.conftest import Write


def test_paths_in_a_file_are_relative_to_that_file(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("deep/run.yaml", workspace="out")
    monkeypatch.chdir(tmp_path)
    config = load_config(Path("deep/run.yaml"), {})
    assert config.workspace == path.parent / "out"
    assert config.datasets[0].instance_data_dir == path.parent / "footage"
    assert config.model.checkpoint == str(path.parent / "model" / "ltx.safetensors")


def test_absolute_and_home_paths_stay_where_they_are(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = write(model={"checkpoint": "/weights/ltx.safetensors", "text_encoder": "~/gemma"})
    model = load_config(path, {}).model
    assert (model.checkpoint, model.text_encoder) == ("/weights/ltx.safetensors", str(tmp_path / "home" / "gemma"))


def test_paths_of_a_form_are_relative_to_the_current_folder(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config(values, {}).workspace == tmp_path / "workspace"
    assert load_config(RunConfig.model_validate(values), {}).workspace == tmp_path / "workspace"


def test_the_mapping_given_is_left_as_it_is(values: dict[str, Any]) -> None:
    before = json.dumps(values)
    load_config(values, {"train_lora.steps": 3, "datasets.0.repeats": 2})
    assert json.dumps(values) == before


def test_json_and_yaml_say_the_same(write: Write, values: dict[str, Any], tmp_path: Path) -> None:
    as_json = tmp_path / "run.json"
    as_json.write_text(json.dumps(values))
    assert load_config(as_json, {}) == load_config(write(), {})


def test_overrides_win_over_the_file_and_reach_into_lists(write: Write) -> None:
    path = write(train_lora={"steps": 10, "rank": 4})
    config = load_config(path, {"train_lora.steps": 20, "datasets.0.repeats": 3, "prompts.validation": ["a"]})
    assert (config.train_lora.steps, config.train_lora.rank) == (20, 4)
    assert config.datasets[0].repeats == 3
    assert config.prompts.validation == ("a",)


@pytest.mark.parametrize(
    "dotted", ["datasets.7.repeats", "datasets.first.repeats", "datasets.7", "workspace.name", "datasets.0.id.x"]
)
def test_an_override_that_leads_nowhere_is_the_users_error(write: Write, dotted: str) -> None:
    with pytest.raises(ConfigError, match=dotted.replace(".", r"\.")):
        load_config(write(workspace="out"), {dotted: 1})


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"train_lora": {"stepz": 3}}, r"unknown option 'train_lora\.stepz'; did you mean 'steps'\?"),
        ({"trian_lora": {}}, r"unknown option 'trian_lora'; did you mean 'train_lora'\?"),
        (
            {"datasets": [{"id": "a", "instance_data_dir": "f", "video": {"frame_rat": 3}}]},
            r"unknown option 'datasets\.0\.video\.frame_rat'; did you mean 'frame_rate'\?",
        ),
        ({"memory": {"qqqq": 1}}, r"unknown option 'memory\.qqqq'; docs/config\.md lists all options"),
        ({"train_lora": {"rank": 0}}, r"option 'train_lora\.rank' is 0; 1 or more is wanted"),
        ({"model": {"text_encoder": "x"}}, r"option 'model\.checkpoint' is missing"),
        (
            {"model": {"checkpoint": "x", "flavour": "dve"}},
            r"option 'model\.flavour' is 'dve': .*there are dev, dev-fp8",
        ),
        ({"datasets": []}, r"option 'datasets' is \[\]; 1 or more of them are wanted"),
        ({"steps": 5}, r"unknown option 'steps'; did you mean 'train_lora\.steps'\?"),
        ({"train_lora": {"steps": "many"}}, r"option 'train_lora\.steps' is 'many'; a whole number is wanted"),
        ({"train_lora": {"steps": 1.5}}, r"option 'train_lora\.steps' is 1\.5; a whole number is wanted"),
        ({"train_lora": {"learning_rate": "fast"}}, r"'train_lora\.learning_rate' is 'fast'; a number is wanted"),
        (
            {"train_lora": {"deterministic": "maybe"}},
            r"'train_lora\.deterministic' is 'maybe'; true or false is wanted",
        ),
        ({"train_lora": {"optimizer": "sgd"}}, r"'train_lora\.optimizer' is 'sgd'; 'adamw', .* is wanted"),
        ({"train_lora": {"targets": 3}}, r"'train_lora\.targets' is 3; 'video', .* or a list is wanted$"),
        ({"train_lora": {"targets": [3]}}, r"option 'train_lora\.targets\.0' is 3; 'video', .* or text is wanted$"),
        ({"train_lora": 3}, r"option 'train_lora' is 3; a section of options is wanted"),
        ({"prompts": {"validation": 3}}, r"option 'prompts\.validation' is 3; a list is wanted"),
        ({"render_validation": {"rescale": 2}}, r"'render_validation\.rescale' is 2; 1 or less is wanted"),
        ({"datasets": [{"id": "a b", "instance_data_dir": "f"}]}, r"'datasets\.0\.id' is 'a b'; text of the form"),
        (
            {"datasets": [{"id": "a", "instance_data_dir": "f"}] * 2},
            "dataset id 'a' is given more than once",
        ),
    ],
)
def test_what_is_said_of_a_mistake(write: Write, sections: dict[str, Any], told: str) -> None:
    path = write(**sections)
    with pytest.raises(ConfigError, match=told) as raised:
        load_config(path, {})
    assert str(raised.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    "wrong",
    [{"repeats": 0}, {"video": {"frame_rat": 3}}, {"crop": "random"}, {"resolution": -1}, {"instance_prompt": "x"}],
)
def test_a_fault_inside_a_dataset_is_one_line(write: Write, wrong: dict[str, Any]) -> None:
    path = write(datasets=[{"id": "a", "instance_data_dir": "f"} | wrong])
    with pytest.raises(ConfigError) as raised:
        load_config(path, {})
    assert len(str(raised.value).splitlines()) == 1
    assert "Tuple" not in str(raised.value)


@pytest.mark.parametrize(
    ("size", "told"),
    [
        ({"resolution": 0.5}, "did you mean resolution_type 'area'"),
        ({"resolution": 31, "resolution_type": "pixel"}, "did you mean resolution_type 'area'"),
        ({"resolution": 512, "resolution_type": "area"}, "did you mean resolution_type 'pixel_area'"),
        ({"minimum_image_size": 0.25}, "did you mean resolution_type 'area'"),
        ({"resolution": 1, "resolution_type": "area", "minimum_image_size": 512}, "'pixel_area'"),
    ],
)
def test_pixels_and_megapixels_are_told_apart(write: Write, size: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(write(datasets=[{"id": "a", "instance_data_dir": "f"} | size]), {})
    assert told in str(raised.value).replace("Did", "did")


@pytest.mark.parametrize("size", [{"resolution": 32}, {"resolution": 0.3, "resolution_type": "area"}])
def test_small_sizes_that_are_meant(write: Write, size: dict[str, Any]) -> None:
    assert load_config(write(datasets=[{"id": "a", "instance_data_dir": "f"} | size]), {}).datasets


def test_all_mistakes_are_told_at_once(write: Write) -> None:
    path = write(train_lora={"rank": 0, "stepz": 1})
    with pytest.raises(ConfigError) as raised:
        load_config(path, {})
    lines = str(raised.value).splitlines()
    assert lines[0] == f"{path}: several options are wrong:"
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("bad.yaml", "datasets: [", "bad.yaml is not valid YAML"),
        ("bad.json", "{'a': 1}", "bad.json is not valid JSON"),
        ("list.yaml", "- a\n- b\n", "list.yaml holds list, wanted a mapping"),
        ("empty.yaml", "", "empty.yaml is empty, wanted a mapping"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=told):
        load_config(tmp_path / name, {})


@pytest.mark.parametrize("data", [b"\xff\xfe\x00d", b"a: \x00"])
def test_a_file_that_is_no_text(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "binary.yaml").write_bytes(data)
    with pytest.raises(ConfigError, match=r"binary\.yaml"):
        load_config(tmp_path / "binary.yaml", {})


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no configuration file .*ltx2-lora miniature"):
        load_config(tmp_path / "none.yaml", {})


def test_a_configuration_cannot_be_changed(write: Write) -> None:
    config = load_config(write(), {})
    with pytest.raises(ValidationError, match="frozen"):
        config.train_lora.steps = 3
