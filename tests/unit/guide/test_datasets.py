"""Entries of the guide's `multidatabackend.json`."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.config import RunConfig, guide_notices, load_config
from flows.guide.dataset_groups import OPTIONS as GROUPED
from flows.guide.dataset_options import DATASET_OPTIONS
from ltx_core.errors import ConfigError
from tests.unit.guide.conftest import printed

ENTRY = {"id": "clips", "type": "local", "instance_data_dir": "footage"}
GOES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"caption_strategy": "instanceprompt", "instance_prompt": "It moves."}, {"instance_prompt": "It moves."}),
    ({"resolution": 1, "resolution_type": "area"}, {"resolution": 1.0, "resolution_type": "area"}),
    ({"video": {"num_frames": 49, "max_frames": 200}}, {"video.num_frames": 49, "video.max_frames": 200}),
    (
        {"video": {"bucket_strategy": "resolution_frames", "frame_interval": 16, "min_frames": 9}},
        {"video.bucket_strategy": "resolution_frames", "video.frame_interval": 16, "video.min_frames": 9},
    ),
    ({"video": {"frame_rate": 24}}, {"video.frame_rate": 24}),
    ({"audio": {"auto_split": False}}, {"audio.auto_split": False}),
    ({"audio": {"channels": 1}}, {"audio.channels": 1}),
    ({"repeats": 0}, {"repeats": 1}),
    ({"repeats": 10}, {"repeats": 11}),
    ({"s2v_datasets": ["clips_audio"], "probability": 1, "minimum_image_size": 0}, {"repeats": 1}),
    ({"minimum_image_size": "512"}, {"minimum_image_size": 512.0}),
    ({"disabled": False, "default": False, "dataset_type": "video"}, {"id": "clips"}),
    ({"dataset_type": "eval"}, {"eval_fraction": 1.0}),
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"type": "aws"}, "only local folders are read"),
    ({"dataset_type": "image"}, "images are not built yet"),
    ({"dataset_type": "audio"}, "dataset 'clips': sound without videos is not trained; name it in the s2v_datasets"),
    ({"s2v_datasets": "voices"}, "option 's2v_datasets' names 'voices'; datasets of sound are: none"),
    ({"s2v_datasets": ["a", "b"]}, "names 'a', 'b'; a video's sound is cut from one dataset"),
    ({"caption_strategy": "parquet"}, "here there are textfile, filename, instanceprompt"),
    ({"minimum_image_size": -1}, "'datasets.0.minimum_image_size' is -1"),
    ({"probability": 0.5}, "every epoch visits all clips, so chance has no say; use repeats"),
    ({"conditioning_data": "other"}, "not built yet"),
    ({"video": {"num_frame": 9}}, "unknown option 'video.num_frame'; did you mean 'video.num_frames'?"),
    ({"repeat": 1}, "dataset 'clips': unknown option 'repeat'; did you mean 'repeats'?"),
]
TOLD: list[tuple[dict[str, Any], str]] = [
    ({"crop": "random"}, "the middle is kept"),
    ({"cache_dir": "c"}, "caches lie in the workspace"),
    ({"cache_dir_vae": "c"}, "caches lie in the workspace"),
    ({"video": {"is_i2v": True}}, "first_frame_probability"),
    ({"audio": {"sample_rate": 48000}}, "16000 Hz"),
    ({"audio": {"duration_interval": 3.0}}, "exactly the seconds of its clip"),
]


def write(project: Path, *entries: dict[str, Any], **options: Any) -> Path:
    (project / "config" / "data.json").write_text(json.dumps(entries))
    path = project / "config" / "own.json"
    path.write_text(json.dumps({"data_backend_config": "data.json"} | options))
    return path


def load(project: Path, *entries: dict[str, Any], **options: Any) -> RunConfig:
    return load_config(write(project, *entries, **options), {})


def test_the_printed_datasets(project: Path) -> None:
    (dataset,) = load_config(project / "config" / "config.json", {}).datasets
    assert (dataset.id, dataset.caption_strategy, dataset.resolution) == ("my-video-dataset", "textfile", 512)
    assert (dataset.video.num_frames, dataset.video.min_frames, dataset.video.frame_rate) == (61, 61, 25)
    assert (dataset.audio.auto_split, dataset.audio.channels, dataset.repeats) == (True, 1, 11)
    assert printed("multidatabackend")[0]["repeats"] == 10


@pytest.mark.parametrize(("options", "ours"), GOES)
def test_values_go_where_the_table_says(project: Path, options: dict[str, Any], ours: dict[str, Any]) -> None:
    (dataset,) = load(project, ENTRY | options).datasets
    for dotted, wanted in ours.items():
        found: Any = dataset
        for name in dotted.split("."):
            found = getattr(found, name)
        assert found == wanted


@pytest.mark.parametrize(("options", "told"), REFUSED)
def test_refused(project: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(project, ENTRY | options)
    assert told in str(raised.value)


@pytest.mark.parametrize(("options", "told"), TOLD)
def test_told(project: Path, options: dict[str, Any], told: str) -> None:
    lines = [line for line in guide_notices(write(project, ENTRY | options)) if line.startswith("dataset clips, ")]
    assert len(lines) == 1
    assert told in lines[0]


def test_every_option_has_a_case() -> None:
    entries = [ENTRY, *printed("multidatabackend"), *(options for options, _ in (*GOES, *REFUSED, *TOLD))]
    names = {key for entry in entries for key in entry}
    names |= {
        f"{key}.{inner}" for entry in entries for key in entry if isinstance(entry[key], dict) for inner in entry[key]
    }
    beside = {option.key for option in GROUPED}  # tests/unit/guide/test_groups.py and test_other_options.py
    assert DATASET_OPTIONS.keys() - beside <= names


def test_sound_of_another_dataset(project: Path) -> None:
    """In whatever order the entries stand; its channels win, and so does the link over `auto_split`."""
    voices = {"id": "voices", "type": "local", "dataset_type": "audio", "instance_data_dir": "voices", "probability": 0}
    videos = ENTRY | {"s2v_datasets": ["voices"], "audio": {"auto_split": False, "channels": 2}}
    plain = ENTRY | {"id": "plain"}
    for entries in ([voices, videos, plain], [videos, plain, voices | {"audio": {"channels": 1}}]):
        first, second = load(project, *entries).datasets
        assert first.audio.sound_dir == project / "config" / "voices"
        assert (first.audio.auto_split, first.audio.missing_sound) == (True, "quarantine")
        assert first.audio.channels == entries[-1].get("audio", {}).get("channels", 2)
        assert second.audio.sound_dir is None
    (told,) = [line for line in guide_notices(write(project, voices, videos)) if line.startswith("dataset voices")]
    assert told == "dataset voices, probability: has no effect: a sound is visited with its video"
    with pytest.raises(ConfigError, match="dataset 'voices': unknown option 'repeat'"):
        load(project, voices | {"repeat": 1}, videos)


def test_defaults_reach_datasets_that_say_nothing(project: Path) -> None:
    other = ENTRY | {"id": "other", "resolution": 256, "video": {"frame_rate": 30, "num_frames": 9}}
    first, second = load(
        project, ENTRY, other, resolution=480, resolution_type="pixel", frame_rate=24, minimum_image_size=99
    ).datasets
    assert (first.minimum_image_size, second.minimum_image_size) == (99, 99)
    assert (first.resolution, first.resolution_type, first.video.frame_rate) == (480, "pixel", 24)
    assert (second.resolution, second.video.frame_rate, second.video.num_frames) == (256, 30, 9)


def test_a_disabled_entry_is_left_out(project: Path) -> None:
    found = load(project, ENTRY, ENTRY | {"id": "other", "disabled": True}).datasets
    assert [dataset.id for dataset in found] == ["clips"]


def test_clips_are_held_out_of_the_eval_dataset_alone(project: Path) -> None:
    others = [ENTRY | {"id": "b"}, ENTRY | {"id": "c", "dataset_type": "eval"}]
    fractions = [d.eval_fraction for d in load(project, ENTRY, *others, eval_dataset_id="c").datasets]
    assert fractions == [0.0, 0.0, 1.0]
    fractions = [d.eval_fraction for d in load(project, ENTRY, *others[:1], eval_dataset_id="b").datasets]
    assert fractions == [0.0, 0.1]


@pytest.mark.parametrize("text", ["{}", "[1]", "[", "\xff"])
def test_a_file_that_is_no_list_of_datasets(project: Path, text: str) -> None:
    path = write(project, ENTRY)
    (project / "config" / "data.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"data\.json"):
        load_config(path, {})
