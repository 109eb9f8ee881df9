"""What lies in folders beside footage: names of any bytes, and things that are no files."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from datasets_spec import DatasetSpec, QuarantineReason
from ltx_core.io.digest import file_digest
from ltx_core.io.regular import is_plain_name, one_line, open_regular, shown_name
from ltx_core.media.captions import caption_file, read_captions
from ltx_core.media.errors import MediaError
from ltx_core.media.find import BESIDE, find_beside
from ltx_core.media.probe import probe_media

Make = Callable[[Path], None]


def beside(folder: Path) -> DatasetSpec:
    return DatasetSpec(id="set", instance_data_dir=folder)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("the pipe"))
    path.symlink_to(path.with_name("the pipe"))


def unix_socket(path: Path) -> None:
    socket.socket(socket.AF_UNIX).bind(str(path))


@pytest.fixture(params=[pipe, device, link_to_pipe, unix_socket, Path.mkdir], ids=lambda make: make.__name__)
def no_file(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


@pytest.mark.timeout(20)
def test_what_is_no_file_is_never_read(tmp_path: Path, no_file: Make) -> None:
    no_file(tmp_path / "a.mp4")
    for read in (file_digest, open_regular):
        with pytest.raises(OSError, match=r"no file|No such device"):
            read(tmp_path / "a.mp4")
    with pytest.raises(MediaError) as caught:
        probe_media(tmp_path / "a.mp4")
    assert caught.value.reason is QuarantineReason.UNREADABLE


@pytest.mark.timeout(20)
def test_a_caption_that_is_no_file(tmp_path: Path, no_file: Make) -> None:
    no_file(tmp_path / "a.txt")
    with pytest.raises(MediaError) as caught:
        read_captions(tmp_path / "a.mp4", beside(tmp_path))
    assert caught.value.reason is QuarantineReason.BAD_CAPTION


def test_a_caption_without_end(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("word " * 300_000)
    with pytest.raises(MediaError, match="1 MiB"):
        read_captions(tmp_path / "a.mp4", beside(tmp_path))


@pytest.mark.parametrize("suffix", [".txt", ".TXT", ".Txt"])
def test_suffixes_in_any_case(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").write_text("A dog.")
    assert read_captions(tmp_path / "a.MP4", beside(tmp_path)) == ("A dog.",)
    assert caption_file(tmp_path / "b.mp4") == tmp_path / "b.txt"
    (tmp_path / f"a_MASK{suffix}").with_suffix(".PNG").touch()
    assert list(find_beside(tmp_path, BESIDE["mask"], among=True)) == ["a"]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    assert not is_plain_name(path)
    assert shown_name(Path(path.name)) == r"caf\xe9.mp4"
    assert is_plain_name(tmp_path / "日本語 🎬.mp4")
    assert shown_name(Path("日本語 🎬.mp4")) == "日本語 🎬.mp4"


def test_names_on_one_line() -> None:
    assert one_line("a\nb\r\x1b[31mc\u2028d\udce9") == r"a\nb\r\x1b[31mc\u2028d\udce9"
    assert one_line("plain, Ünïcödé 🎬") == "plain, Ünïcödé 🎬"
