"""Pages: everything is escaped, every link leads somewhere, nothing comes from outside, same input same bytes."""

import base64
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

from ltx_core.errors import DataError, ShapeError
from ltx_core.report.page import (
    Badge,
    Figures,
    Link,
    PromptRow,
    Section,
    Series,
    VariantRender,
    curve,
    readable,
    renders,
    run_report,
    table,
)
from tests.unit.report.conftest import gallery

NASTY = "<script>alert(1)</script> & \"quoted\" 'single'"
PARTS = ["#empty", "#curve", "#renders"]
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Reader(HTMLParser):
    """Tags with their attributes, and the text, as a browser would see them; fails on tags that do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_everything_is_escaped(tmp_path: Path, row_of: Callable[..., PromptRow], video: Callable[[str], Path]) -> None:
    figures = Figures(sharpness=1, motion=1, loudness_db=-120)
    render = VariantRender(variant=NASTY, video=video("x.mp4"), figures=figures, detail=NASTY)
    row = row_of(prompt=NASTY, settings={NASTY: NASTY}, renders=[render])
    sections = [
        Section(NASTY, table([NASTY], [[NASTY], [Badge(NASTY)], [Link(NASTY, "a?b=<&c")]]), NASTY),
        Section("empty", table(["a"], [], empty=NASTY)),
        Section("curve", curve([Series(NASTY, [(0, 1), (1, 2)])], x_label=NASTY, y_label=NASTY)),
    ]
    gallery(tmp_path / "page.html", NASTY, {NASTY: NASTY, "badge": Badge(NASTY)}, [row], sections)
    read = Reader((tmp_path / "page.html").read_text())
    assert len(read.all("script")) == 1
    assert read.text.count(NASTY) == 21
    assert [a["href"] for a in read.all("a")] == ["#script-alert-1-script-quoted-single", *PARTS, "a?b=<&c"]


def test_links_exist_and_are_relative(tmp_path: Path, row_of: Callable[..., PromptRow]) -> None:
    page = tmp_path / "reports" / "deep" / "page.html"
    gallery(page, "renders", {}, [row_of()])
    videos = Reader(page.read_text()).all("video")
    assert len(videos) == 2
    for attributes in videos:
        source = attributes["src"]
        assert source is not None
        assert source.startswith("../../videos/")
        assert not set(source) & set(" #")
        assert (page.parent / unquote(source)).is_file()
        assert attributes.keys() >= {"controls", "muted", "loop", "playsinline"}


def test_nothing_comes_from_outside(tmp_path: Path, row_of: Callable[..., PromptRow]) -> None:
    gallery(tmp_path / "page.html", "renders", {}, [row_of()])
    page = (tmp_path / "page.html").read_text()
    assert not re.search(r"https?://|@import|url\(", page)
    assert not Reader(page).all("link")


def test_a_video_with_a_hostile_name_stays_a_link(
    tmp_path: Path, row_of: Callable[..., PromptRow], video: Callable[[str], Path]
) -> None:
    name = "\"onerror='x' <b>&{{ 7 * 7 }}.mp4"
    hostile = VariantRender(
        variant="{{ 7 * 7 }}", video=video(name), figures=Figures(sharpness=1, motion=1, loudness_db=0)
    )
    gallery(tmp_path / "page.html", "{% raw %}", {}, [row_of(renders=[hostile])])
    read = Reader((tmp_path / "page.html").read_text())
    (attributes,) = read.all("video")
    assert unquote(attributes["src"] or "") == f"videos/{name}"
    assert "onerror" not in attributes
    assert {"{{ 7 * 7 }}", "{% raw %}"} <= set(read.text), "a value is no template"


def test_a_row_has_its_whole_caption_however_small_its_videos_are(
    tmp_path: Path, row_of: Callable[..., PromptRow]
) -> None:
    page = tmp_path / "page.html"
    prompt = "A very long caption that stands beside its row in full. " * 8
    for small in (False, True):
        run_report(page, "samples", {}, [Section("Samples", renders([row_of(prompt=prompt)], page, small=small))])
        read = Reader(page.read_text())
        assert prompt in read.text
        assert len(read.all("video")) == 2
        assert ("videos small" in {tag.get("class") for tag in read.all("div")}) == small


def test_missing_video_is_refused(tmp_path: Path, row_of: Callable[..., PromptRow]) -> None:
    lost = VariantRender(
        variant="base", video=tmp_path / "lost.mp4", figures=Figures(sharpness=1, motion=1, loudness_db=0)
    )
    with pytest.raises(DataError, match="lost"):
        gallery(tmp_path / "page.html", "renders", {}, [row_of(renders=[lost])])
    assert not (tmp_path / "page.html").exists()


def test_figures_and_their_change_from_base(tmp_path: Path, row_of: Callable[..., PromptRow]) -> None:
    gallery(tmp_path / "page.html", "renders", {}, [row_of()])
    text = Reader((tmp_path / "page.html").read_text()).text
    assert {"42", "30", "0.0200", "-20.0 dB", "-14.5 dB", "+5.5 dB", "+100%", "-50%", "0.1250"} <= set(text)


def test_poster_is_inside_the_page(tmp_path: Path, row_of: Callable[..., PromptRow]) -> None:
    gallery(tmp_path / "page.html", "renders", {}, [row_of()])
    (poster,) = [v["poster"] for v in Reader((tmp_path / "page.html").read_text()).all("video") if "poster" in v]
    assert poster is not None
    image = Image.open(io.BytesIO(base64.b64decode(poster.removeprefix("data:image/jpeg;base64,"))))
    assert image.size == (64, 32)


def test_same_input_same_bytes(tmp_path: Path, row_of: Callable[..., PromptRow]) -> None:
    for name in ("a.html", "b.html"):
        gallery(tmp_path / name, "renders", {"Run": 1}, [row_of()])
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_report_without_renders(tmp_path: Path) -> None:
    stages = table(["Stage", "In", "Out"], [["probe", 1200, 1199], ["split", 1199, None]])
    run_report(tmp_path / "report.html", "Run 7", {"Steps": 2000}, [Section("Stages", stages)])
    read = Reader((tmp_path / "report.html").read_text())
    assert {"Run 7", "Stages", "probe", "1,200", "2,000", "—"} <= set(read.text)
    assert [cell.get("class") for cell in read.all("td")] == [None, "number", "number"] * 2


def test_ragged_table_is_refused() -> None:
    with pytest.raises(ShapeError, match="1 cells for 2 headers"):
        table(["a", "b"], [["x"]])


@pytest.mark.parametrize("href", ["javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "file:///etc"])
def test_link_to_elsewhere_is_refused(href: str) -> None:
    with pytest.raises(ValueError, match="relative address"):
        Link("x", href)


@pytest.mark.parametrize("href", ["a/b.mp4", "../x:y.mp4", "http://127.0.0.1:5000/#/a:b", "#part"])
def test_ordinary_links_pass(href: str) -> None:
    assert Reader(table(["a"], [[Link("x", href)]])).all("a") == [{"href": href}]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1380.5, "1,380"),
        (0.012345, "0.01235"),
        (1234567, "1,234,567"),
        (2.0e6, "2,000,000"),
        (None, "—"),
        (True, "yes"),
    ],
)
def test_readable(value: float | None, text: str) -> None:
    assert readable(value) == text
