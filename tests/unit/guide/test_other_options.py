"""SimpleTuner's options beyond its quickstart: where their values go, and files as people have them."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.config import load_config
from flows.guide.dataset_options import DATASET_OPTIONS
from flows.guide.other_options import OPTIONS as OTHER
from flows.guide.table import OPTIONS
from ltx_core.errors import ConfigError
from tests.unit.guide.conftest import LEAST, PRINTED, Load, Notices
from tests.unit.guide.other_cases import GOES, REFUSED, TOLD, other_cases
from tests.unit.guide.test_datasets import ENTRY
from tests.unit.guide.test_datasets import load as load_entries
from tests.unit.guide.test_options import reached


@pytest.mark.parametrize(("options", "ours"), GOES)
def test_value_goes_where_the_table_says(load: Load, options: dict[str, Any], ours: dict[str, Any]) -> None:
    config = load(**options)
    assert {name: reached(config, name) for name in ours} == ours


@pytest.mark.parametrize(("options", "told"), REFUSED)
def test_refused(load: Load, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(**options)
    assert told in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(("options", "told"), TOLD)
def test_told(notices: Notices, options: dict[str, Any], told: str) -> None:
    *_, key = options
    (line,) = [notice for notice in notices(**options) if notice.startswith(f"{key}: ")]
    assert told in line


def test_every_row_has_a_case() -> None:
    assert {option.key for option in OTHER} <= {key for options in other_cases() for key in options}


def test_no_option_of_simpletuner_is_unknown() -> None:
    """Every option that its command line and its page on datasets name."""
    names = (PRINTED / "all_options.txt").read_text().split()
    of_datasets = {name.removeprefix("dataset:") for name in names if name.startswith("dataset:")}
    assert len(names) > 500
    assert of_datasets <= DATASET_OPTIONS.keys()
    assert {name for name in names if ":" not in name} <= OPTIONS.keys()


def test_options_of_datasets_that_say_nothing(project: Path) -> None:
    bare = {"id": "clips", "type": "local", "instance_data_dir": "footage"}
    (dataset,) = load_entries(project, bare, only_instance_prompt=True, instance_prompt="It moves.").datasets
    assert (dataset.caption_strategy, dataset.instance_prompt) == ("instanceprompt", "It moves.")


@pytest.mark.parametrize(
    ("options", "ours"),
    [
        ({"only_instance_prompt": True, "instance_prompt": "It moves."}, {"caption_strategy": "instanceprompt"}),
        ({"audio": {"allow_zero_audio": True}}, {"repeats": 1}),
        ({"probability": "1"}, {"repeats": 1}),
        ({"probability": "1.0", "minimum_image_size": None, "video": None}, {"repeats": 1}),
        ({"video": {"num_frames": 49, "frame_rate": None}}, {"id": "clips"}),
    ],
)
def test_value_of_a_dataset(project: Path, options: dict[str, Any], ours: dict[str, Any]) -> None:
    (dataset,) = load_entries(project, ENTRY | options).datasets
    assert {name: reached(dataset, name) for name in ours} == ours


def test_no_silence_is_made_up(project: Path) -> None:
    with pytest.raises(ConfigError, match="videos without sound train their pictures alone"):
        load_entries(project, ENTRY | {"audio": {"allow_zero_audio": False}})


@pytest.mark.parametrize("off", [True, "True", "true", "yes", "1", 1, "on"])
def test_every_spelling_switches_a_dataset_off(project: Path, off: Any) -> None:
    datasets = load_entries(project, ENTRY, ENTRY | {"id": "other", "disabled": off}).datasets
    assert [dataset.id for dataset in datasets] == ["clips"]


@pytest.mark.parametrize("on", [False, "False", "no", "0", 0, None, ""])
def test_every_spelling_leaves_a_dataset_on(project: Path, on: Any) -> None:
    assert len(load_entries(project, ENTRY, ENTRY | {"id": "other", "disabled": on}).datasets) == 2


def test_another_word_for_off_is_refused(project: Path) -> None:
    with pytest.raises(ConfigError, match="option 'disabled' is 'maybe'; true or false is wanted"):
        load_entries(project, ENTRY, ENTRY | {"id": "other", "disabled": "maybe"})


def test_a_key_twice_is_an_error(project: Path) -> None:
    path = project / "config" / "own.json"
    path.write_text('{"data_backend_config": "config/ltx2/multidatabackend.json", "seed": 1, "seed": 2}')
    with pytest.raises(ConfigError, match="key 'seed' is given twice"):
        load_config(path, {})
    path.write_text(json.dumps(LEAST))
    data = project / "config" / "ltx2" / "multidatabackend.json"
    data.write_text('[{"id": "clips", "id": "b", "type": "local", "instance_data_dir": "footage"}]')
    with pytest.raises(ConfigError, match="key 'id' is given twice"):
        load_config(path, {})


def test_a_byte_order_mark_is_no_fault(project: Path) -> None:
    for file in (project / "config" / "config.json", project / "config" / "ltx2" / "multidatabackend.json"):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert load_config(project / "config" / "config.json", {}).datasets
