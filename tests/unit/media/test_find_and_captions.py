from pathlib import Path

import pytest

from datasets_spec import DatasetSpec, QuarantineReason
from ltx_core.errors import DataError
from ltx_core.media.captions import read_captions
from ltx_core.media.errors import MediaError
from ltx_core.media.find import BESIDE, find_beside, find_media
from tasks.runtime.shared import Shared
from tasks.runtime.stage import StageRun
from tasks.runtime.workspace import Workspace
from tasks.stages.parts.footage_files import ignored_files
from tasks.stages.probe import Probe, ProbeConfig


def test_finds_every_kind_sorted_and_no_hidden_ones(tmp_path: Path) -> None:
    kept = ["B.MP4", "a.mov", "deep/er/c.WebM", "deep.mkv", "still.PNG", "z.m2ts"]
    for name in [*kept, ".hidden.mp4", "._a.mov", "notes.txt", ".cache/x.mp4", "deep/.trash/y.mp4"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "link.avi").symlink_to(tmp_path / "a.mov")
    found = [path.relative_to(tmp_path).as_posix() for path in find_media(tmp_path)]
    assert found == sorted([*kept, "link.avi"])


def test_what_is_ignored_is_counted_by_kind(tmp_path: Path) -> None:
    names = [
        "a.mp4",
        "a.jpg",
        "a.txt",
        "b.txt",
        "c_mask.JPG",
        "deep/d.jpg",
        "e.heic",
        "README",
        ".hidden.jpg",
        ".cache/x.jpg",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    dataset = DatasetSpec(id="set", instance_data_dir=tmp_path)
    assert {suffix: len(files) for suffix, files in ignored_files(dataset).items()} == {"": 1, ".heic": 1, ".txt": 1}
    shared = Shared.model_construct(datasets=(dataset,))
    run = StageRun(stage=Probe(), config=ProbeConfig(), shared=shared, inputs={}, workspace=Workspace(tmp_path))
    lines = Probe().warnings(run)
    assert "dataset set: 1 .heic files ignored: such an image is not read; save e.heic as PNG or JPEG" in lines
    assert "dataset set: 1 files without a suffix ignored: not known as video or image" in lines
    sounds = dataset.model_copy(update={"dataset_type": "audio"})
    shared = Shared.model_construct(datasets=(sounds,))
    run = StageRun(stage=Probe(), config=ProbeConfig(), shared=shared, inputs={}, workspace=Workspace(tmp_path))
    assert any(line.endswith("ignored: not known as audio or video") for line in Probe().warnings(run))
    assert len(lines) == 4
    assert "1 images have the name of a video, such as " in lines[3]


def captions(path: Path, **options: object) -> tuple[str, ...]:
    return read_captions(path, DatasetSpec.model_validate({"id": "set", "instance_data_dir": path.parent, **options}))


def test_the_folder_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        find_media(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "caption"),
    [
        (b"A dog runs.", "A dog runs."),
        ("\ufeffA dög\r\nruns,\n\n  far. \n".encode(), "A dög runs, far."),
    ],
)
def test_textfile(tmp_path: Path, content: bytes, caption: str) -> None:
    (tmp_path / "clip.01.txt").write_bytes(content)
    assert captions(tmp_path / "clip.01.mp4") == (caption,)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, QuarantineReason.NO_CAPTION),
        (b"", QuarantineReason.NO_CAPTION),
        (b" \n\t\xef\xbb\xbf"[:3], QuarantineReason.NO_CAPTION),
        ("Hündin".encode("latin-1"), QuarantineReason.BAD_CAPTION),
        ("A dog".encode("utf-16"), QuarantineReason.BAD_CAPTION),
        (b"A\0dog", QuarantineReason.BAD_CAPTION),
    ],
)
def test_bad_textfiles(tmp_path: Path, content: bytes | None, reason: QuarantineReason) -> None:
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(MediaError) as caught:
        captions(tmp_path / "a.mp4")
    assert caught.value.reason is reason
    assert "a.txt" in str(caught.value)


def test_a_folder_is_no_caption(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(MediaError) as caught:
        captions(tmp_path / "a.mp4")
    assert caught.value.reason is QuarantineReason.BAD_CAPTION


def test_filename() -> None:
    assert captions(Path("/x/a_dog-runs__far.take.mp4"), caption_strategy="filename") == ("a dog runs far.take",)
    with pytest.raises(MediaError):
        captions(Path("/x/___.mp4"), caption_strategy="filename")


def test_instance_prompt() -> None:
    assert captions(Path("/x/a.mp4"), caption_strategy="instanceprompt", instance_prompt="sks dog") == ("sks dog",)


def test_a_trigger_word_is_put_where_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("[trigger] runs, then [trigger] rests.")
    (tmp_path / "b.txt").write_text("a dog runs")
    (tmp_path / "c.txt").write_text("a dog called zubo")
    marker, front = {"trigger": "Zubo"}, {"trigger": "Zubo", "trigger_place": "front"}
    assert captions(tmp_path / "a.mp4", captions=marker) == ("Zubo runs, then Zubo rests.",)
    assert captions(tmp_path / "b.mp4", captions=marker) == ("a dog runs",)
    assert [captions(tmp_path / f"{name}.mp4", captions=front)[0] for name in "abc"] == [
        "Zubo runs, then Zubo rests.",
        "Zubo, a dog runs",
        "a dog called zubo",
    ]
    with pytest.raises(MediaError, match="no captions\\.trigger") as caught:
        captions(tmp_path / "a.mp4")
    assert caught.value.reason is QuarantineReason.BAD_CAPTION


def test_lines_and_orders_of_tags_are_variants(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A dog runs.\n\n  red,  green, blue,\nA dog runs.\n")
    assert captions(tmp_path / "a.mp4") == ("A dog runs. red, green, blue, A dog runs.",)
    assert captions(tmp_path / "a.mp4", captions={"lines": "variants"}) == ("A dog runs.", "red, green, blue,")
    options = {"lines": "variants", "tag_shuffles": 3, "trigger": "Zubo", "trigger_place": "front"}
    made = captions(tmp_path / "a.mp4", captions=options)
    assert made[:2] == ("Zubo, A dog runs.", "Zubo, red, green, blue,")
    assert len(made[2:]) == len(set(made[2:])) >= 2
    assert {tuple(sorted(caption.split(", "))) for caption in made[2:]} == {("Zubo", "blue", "green", "red")}
    assert all(caption.startswith("Zubo, ") for caption in made)
    assert captions(tmp_path / "a.mp4", captions=options | {"tag_shuffles": 1}) == made[:3], "more add to fewer"
    (tmp_path / "b.txt").write_text("a dog, red, green, blue")
    kept = captions(tmp_path / "b.mp4", captions={"tag_shuffles": 8, "tags_in_place": 2})
    assert set(kept) == {"a dog, red, green, blue", "a dog, red, blue, green"}
    assert len(captions(tmp_path / "b.mp4", captions={"tag_shuffles": 8, "tags_in_place": 3})) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"captions": {"trigger_place": "front"}}, "no effect without trigger"),
        ({"captions": {"tags_in_place": 1}}, "no effect without tag_shuffles"),
        ({"captions": {"trigger": "a [trigger]"}}, "give the word"),
        ({"captions": {"lines": "variants"}, "caption_strategy": "filename"}, "gives one line"),
        (
            {"captions": {"trigger": "Zubo"}, "caption_strategy": "instanceprompt", "instance_prompt": "a dog"},
            "trigger_place: front",
        ),
    ],
)
def test_options_without_effect_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        captions(Path("/x/a.mp4"), **options)


def test_sounds_are_found_by_the_name_of_their_video(tmp_path: Path) -> None:
    for name in ("a.WAV", "deep/b.flac", "deep/b.mp3", "c.mp4", "c.txt", ".d.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = {name: [path.name for path in paths] for name, paths in find_beside(tmp_path, BESIDE["sound"]).items()}
    assert found == {"a": ["a.WAV"], "deep/b": ["b.flac", "b.mp3"]}
    with pytest.raises(DataError, match=r"audio\.audio_dir"):
        find_beside(tmp_path / "nowhere", BESIDE["sound"])
