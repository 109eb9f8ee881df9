from pathlib import Path

import pytest

from datasets_spec import DatasetSpec, QuarantineReason
from ltx_core.errors import ConfigError, DataError
from ltx_core.media.errors import MediaError
from ltx_core.media.find import find_audios, find_media, read_caption
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
    assert len(lines) == 4
    assert "1 images have the name of a video, such as " in lines[3]


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
    assert read_caption(tmp_path / "clip.01.mp4", "textfile", None) == caption


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
        read_caption(tmp_path / "a.mp4", "textfile", None)
    assert caught.value.reason is reason
    assert "a.txt" in str(caught.value)


def test_a_folder_is_no_caption(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(MediaError) as caught:
        read_caption(tmp_path / "a.mp4", "textfile", None)
    assert caught.value.reason is QuarantineReason.BAD_CAPTION


def test_filename() -> None:
    assert read_caption(Path("/x/a_dog-runs__far.take.mp4"), "filename", None) == "a dog runs far.take"
    with pytest.raises(MediaError):
        read_caption(Path("/x/___.mp4"), "filename", None)


def test_instance_prompt() -> None:
    assert read_caption(Path("/x/a.mp4"), "instanceprompt", "sks dog") == "sks dog"
    for strategy, prompt in (("instanceprompt", None), ("parquet", None)):
        with pytest.raises(ConfigError, match="caption_strategy"):
            read_caption(Path("/x/a.mp4"), strategy, prompt)


def test_sounds_are_found_by_the_name_of_their_video(tmp_path: Path) -> None:
    for name in ("a.WAV", "deep/b.flac", "deep/b.mp3", "c.mp4", "c.txt", ".d.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = {name: [path.name for path in paths] for name, paths in find_audios(tmp_path).items()}
    assert found == {"a": ["a.WAV"], "deep/b": ["b.flac", "b.mp3"]}
    with pytest.raises(DataError, match=r"audio\.audio_dir"):
        find_audios(tmp_path / "nowhere")
