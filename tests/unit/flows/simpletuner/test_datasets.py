"""Entries of the guide's `multidatabackend.json`."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.config import RunConfig, guide_warnings, load_config
from flows.simpletuner.table import table
from ltx_core.errors import ConfigError
from ltx_core.media.captions import read_captions
from tests.unit.flows.simpletuner.conftest import LEAST, printed

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
    ({"dataset_type": "image"}, {}),
    ({"disable_multiline_split": True}, {"captions.lines": "join"}),
    ({"disable_multiline_split": False}, {"captions.lines": "variants"}),
    (
        {"caption_shuffle": {"enable": True, "count": 3, "position_start": 1, "split_on": "comma"}},
        {"captions.tag_shuffles": 3, "captions.tags_in_place": 1},
    ),
    ({"caption_shuffle": {"enable": "true"}}, {"captions.tag_shuffles": 1, "captions.tags_in_place": 0}),
    ({"caption_shuffle": {"enable": False, "count": 3, "split_on": "space"}}, {"captions.tag_shuffles": 0}),
    ({"caption_shuffle": {}}, {"captions.tag_shuffles": 0}),
    (
        {"prepend_instance_prompt": True, "instance_prompt": "Zubo"},
        {"captions.trigger": "Zubo", "captions.trigger_place": "front", "instance_prompt": None},
    ),
    ({"prepend_instance_prompt": False}, {"captions.trigger": None}),
    ({"only_instance_prompt": True, "instance_prompt": "It moves."}, {"caption_strategy": "instanceprompt"}),
    ({"audio": {"allow_zero_audio": True}}, {"repeats": 1}),
    ({"probability": "1"}, {"repeats": 1}),
    ({"probability": "1.0", "minimum_image_size": None, "video": None}, {"repeats": 1}),
    ({"video": {"num_frames": 49, "frame_rate": None}}, {"id": "clips"}),
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"type": "aws"}, "only local folders are read"),
    ({"dataset_type": "audio", "resolution": 384}, "has resolution and dataset_type 'audio', which has no video"),
    ({"audio": {"audio_only": False}}, "a dataset of audio alone is trained without any video; leave it out"),
    ({"s2v_datasets": "voices"}, "option 's2v_datasets' names 'voices'; datasets of audio are: none"),
    ({"s2v_datasets": ["a", "b"]}, "names 'a', 'b'; a video's audio is cut from one dataset"),
    ({"s2v_datasets": True}, "option 's2v_datasets' is True; the id of a dataset of audio is wanted"),
    ({"s2v_datasets": [["a"]]}, "option 's2v_datasets' is [['a']]; the id of a dataset of audio is wanted"),
    ({"audio": {"allow_zero_audio": False}}, "a clip without audio trains its video alone"),
    ({"caption_strategy": "parquet"}, "here there are textfile, filename, instanceprompt"),
    ({"minimum_image_size": -1}, "'datasets.0.minimum_image_size' is -1"),
    ({"probability": 0.5}, "every epoch uses all clips, so there is no probability; use repeats, or weight"),
    ({"conditioning_data": "other"}, "datasets[].reference.reference_dir"),
    ({"video": {"num_frame": 9}}, "unknown option 'video.num_frame'; did you mean 'video.num_frames'?"),
    ({"caption_shuffle": {"enable": True, "split_on": "space"}}, "tags are separated by commas here"),
    ({"caption_shuffle": {"enable": True, "include_original": False}}, "the written order is always a variant"),
    ({"caption_shuffle": {"enable": True, "count": 0}}, "1 to 64, and 0 or more, are wanted"),
    ({"caption_shuffle": {"enable": True, "amount": 2}}, "is {'enable': True, 'amount': 2}; a section with count,"),
    ({"caption_shuffle": True}, "is True; a section with"),
    ({"prepend_instance_prompt": True}, "there is no instance_prompt to put in front of captions"),
    ({"repeat": 1}, "dataset 'clips': unknown option 'repeat'; did you mean 'repeats'?"),
]
TOLD: list[tuple[dict[str, Any], str]] = [
    ({"crop": "random"}, "the middle is kept"),
    ({"cache_dir": "c"}, "caches lie in the workspace"),
    ({"cache_dir_vae": "c"}, "caches lie in the workspace"),
    ({"video": {"is_i2v": True}}, "first_frame_probability"),
    ({"audio": {"sample_rate": 48000}}, "16000 Hz"),
    ({"caption_shuffle": {"enable": True, "seed": 42}}, "the orders follow from the caption alone"),
    (
        {"prepend_instance_prompt": True, "instance_prompt": "Zubo", "caption_strategy": "instanceprompt"},
        "has no effect with caption_strategy: instanceprompt",
    ),
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
    lines = [line for line in guide_warnings(write(project, ENTRY | options)) if line.startswith("dataset clips, ")]
    assert len(lines) == 1
    assert told in lines[0]


def test_an_instance_prompt_is_put_in_front(project: Path) -> None:
    """Of every dataset with captions of its own, unless it says otherwise."""
    own = ENTRY | {"id": "own", "instance_prompt": "Bruno", "prepend_instance_prompt": False}
    filename = ENTRY | {"id": "filename", "caption_strategy": "filename", "caption_shuffle": {"enable": True}}
    first, second, third = load(
        project, ENTRY, own, filename, prepend_instance_prompt=True, instance_prompt="Zubo the dog"
    ).datasets
    assert read_captions(Path("red_ball.mp4"), third)[0] == "Zubo the dog, red ball"
    assert (first.captions.trigger, first.captions.trigger_place) == ("Zubo the dog", "front")
    assert (second.captions.trigger, third.captions.tag_shuffles) == (None, 1)


def test_every_option_has_a_case() -> None:
    entries = [ENTRY, *printed("multidatabackend"), *(options for options, _ in (*GOES, *REFUSED, *TOLD))]
    names = {key for entry in entries for key in entry}
    names |= {
        f"{key}.{inner}" for entry in entries for key in entry if isinstance(entry[key], dict) for inner in entry[key]
    }
    of_groups = {name for group in table("datasets").groups for name in group.options.split()}
    assert table("datasets").options.keys() - of_groups <= names


def test_audio_of_another_dataset(project: Path) -> None:
    """In whatever order the entries stand; its channels win, and so does the link over `auto_split`."""
    voices: dict[str, Any] = {
        "id": "voices",
        "type": "local",
        "dataset_type": "audio",
        "instance_data_dir": "voices",
        "probability": 0,
    }
    videos: dict[str, Any] = ENTRY | {"s2v_datasets": ["voices"], "audio": {"auto_split": False, "channels": 2}}
    plain: dict[str, Any] = ENTRY | {"id": "plain"}
    for entries in ([voices, videos, plain], [videos, plain, voices | {"audio": {"channels": 1}}]):
        first, second = load(project, *entries).datasets
        assert first.audio.audio_dir == project / "config" / "voices"
        assert (first.audio.auto_split, first.audio.missing_audio) == (True, "quarantine")
        assert first.audio.channels == entries[-1].get("audio", {}).get("channels", 2)
        assert second.audio.audio_dir is None
    (told,) = [line for line in guide_warnings(write(project, voices, videos)) if line.startswith("dataset voices")]
    assert told == "dataset voices, probability: has no effect: audio is used with its video"
    alone = voices | {"audio": {"audio_only": True, "channels": 1}, "repeats": 3}
    del alone["probability"]
    _, song = load(project, plain, alone).datasets
    assert (song.id, song.dataset_type, song.instance_data_dir) == ("voices", "audio", project / "config" / "voices")
    assert (song.audio.channels, song.repeats) == (1, 4)
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


def test_options_of_datasets_that_say_nothing(project: Path) -> None:
    bare = {"id": "clips", "type": "local", "instance_data_dir": "footage"}
    (dataset,) = load(project, bare, only_instance_prompt=True, instance_prompt="It moves.").datasets
    assert (dataset.caption_strategy, dataset.instance_prompt) == ("instanceprompt", "It moves.")


@pytest.mark.parametrize("off", [True, "True", "true", "yes", "1", 1, "on"])
def test_every_spelling_switches_a_dataset_off(project: Path, off: Any) -> None:
    datasets = load(project, ENTRY, ENTRY | {"id": "other", "disabled": off}).datasets
    assert [dataset.id for dataset in datasets] == ["clips"]


@pytest.mark.parametrize("on", [False, "False", "no", "0", 0, None, ""])
def test_every_spelling_leaves_a_dataset_on(project: Path, on: Any) -> None:
    assert len(load(project, ENTRY, ENTRY | {"id": "other", "disabled": on}).datasets) == 2


def test_another_word_for_off_is_refused(project: Path) -> None:
    with pytest.raises(ConfigError, match="option 'disabled' is 'maybe'; true or false is wanted"):
        load(project, ENTRY, ENTRY | {"id": "other", "disabled": "maybe"})


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
