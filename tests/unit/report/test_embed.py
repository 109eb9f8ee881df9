"""A page in one file: every video is inside or named as left out, and nothing of it leads elsewhere."""

import base64
import re
from collections.abc import Callable
from pathlib import Path

from ltx_core.report.embed import self_contained
from ltx_core.report.page import Link, PromptRow, Section, link_to, table
from tests.unit.report.conftest import gallery
from tests.unit.report.test_page import Reader


def page_of(tmp_path: Path, row: PromptRow) -> Path:
    page = tmp_path / "pages" / "gallery.html"
    target = tmp_path / "lora.safetensors"
    target.write_bytes(b"weights")
    found = [link_to("the LoRA", target, page), Link("MLflow", "http://127.0.0.1:5000/#/x"), Link("a part", "#part")]
    links = table(["a"], [[link] for link in found])
    gallery(page, "renders", {}, [row], [Section("Links", links)])
    return page


def test_videos_are_inside_and_links_to_elsewhere_are_text(tmp_path: Path, row_of: Callable[..., PromptRow]) -> None:
    row = row_of()
    page = page_of(tmp_path, row)
    read = Reader(self_contained(page))
    held = [base64.b64decode(str(video["src"]).removeprefix("data:video/mp4;base64,")) for video in read.all("video")]
    assert held == [render.video.read_bytes() for render in row.renders]
    assert all("controls" in video for video in read.all("video"))
    assert [link["href"] for link in read.all("a")] == ["#part"], "a frame may go nowhere else"
    assert "the LoRA" in read.text
    assert "videos/" in page.read_text(), "the page itself is as it was"


def test_a_copy_is_bounded_and_says_what_it_leaves_out(tmp_path: Path, row_of: Callable[..., PromptRow]) -> None:
    row = row_of()
    page = page_of(tmp_path, row)
    first, second = (render.video for render in row.renders)
    copy = self_contained(page, most_bytes=first.stat().st_size)
    read = Reader(copy)
    assert len(read.all("video")) == 1
    (said,) = [text for text in read.text if "left out" in text]
    assert said.startswith(second.name)
    assert said.endswith(str(page))


def test_a_video_that_is_gone_is_named(tmp_path: Path, row_of: Callable[..., PromptRow]) -> None:
    row = row_of()
    page = page_of(tmp_path, row)
    row.renders[0].video.unlink()
    copy = self_contained(page)
    assert f"{row.renders[0].video.name} is gone" in copy
    assert not re.search(r'src="(?!data:)', copy)
