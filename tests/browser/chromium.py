"""A headless Chromium that writes down what a page says, asks for and fails at."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Frame, Page, Request, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
PLACE = "CHROMIUM"
"""A variable of the environment that names the program, where it has another name."""
MISSING = (
    "no Chromium is installed, and tests/browser (of `make test-all`) looks at pages with it: "
    "`apt install chromium`, or name the program in the variable CHROMIUM"
)
SIZES: Mapping[str, tuple[int, int]] = {"desk": (1400, 900), "phone": (390, 844)}
PATIENCE_MS = 120_000
INSIDE = ("data", "blob", "about")
"""Schemes of what a page has in it already."""


@dataclass
class Watched:
    """A page, and all that it has said and asked for since it was opened."""

    page: Page
    said: list[str] = field(default_factory=list)
    """Warnings and errors of the console, with the address that a failed request had, and exceptions."""
    asked: list[str] = field(default_factory=list)
    """Addresses of all requests that leave the page."""

    def hear(self, message: ConsoleMessage) -> None:
        if message.type in ("warning", "error"):
            address = message.location.get("url", "") if message.text.startswith("Failed to load resource") else ""
            self.said.append(f"{message.text} {urlsplit(address).path}".strip())

    def note(self, request: Request) -> None:
        if urlsplit(request.url).scheme not in INSIDE:
            self.asked.append(request.url)

    def elsewhere(self, *addresses: str) -> list[str]:
        """Requests that begin with none of the addresses."""
        return [one for one in self.asked if not one.startswith(addresses)]


def program() -> str:
    """The browser; the test that wants it fails where there is none."""
    found = next(filter(None, map(shutil.which, (os.environ.get(PLACE, ""), *NAMES))), None)
    if found is None:
        pytest.fail(MISSING, pytrace=False)
    return found


@contextmanager
def started() -> Iterator[Browser]:
    """The browser; it finds no other machine than this one."""
    local = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
    options = ["--no-sandbox", "--disable-background-networking", local]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=options, timeout=PATIENCE_MS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, address: str, size: str) -> Iterator[Watched]:
    """A page in a window of that size. Nothing plays by itself, as for a user who asked for little motion."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MS)
    try:
        watched = Watched(context.new_page())
        watched.page.on("console", watched.hear)
        watched.page.on("pageerror", lambda error: watched.said.append(str(error)))
        watched.page.on("request", watched.note)
        watched.page.goto(address, wait_until="load")
        yield watched
    finally:
        context.close()


LOADED = """async () => Promise.all([...document.querySelectorAll("video")].map(video => new Promise(answer => {
  const tell = () => answer(video.error ? video.error.message || "error" : video.videoWidth > 0 ? "" : "no picture");
  if (video.readyState >= 2 || video.error) return tell();
  video.addEventListener("loadeddata", tell, { once: true });
  video.addEventListener("error", tell, { once: true });
  video.preload = "auto";
  video.load();
})))"""
TIMES = """row => [...row.querySelectorAll("video")].map(video => video.currentTime)"""
MOVED = """row => [...row.querySelectorAll("video")].every(video => !video.paused && video.currentTime > 0.1)"""
APART = """async row => {
  const videos = [...row.querySelectorAll("video")], seen = [];
  for (let look = 0; look < 15; look++) {
    const places = videos.map(video => Math.abs(video.currentTime - videos[0].currentTime) / video.duration);
    seen.push(Math.max(...places.map(part => Math.min(part, 1 - part))));
    await new Promise(done => setTimeout(done, 50));
  }
  return seen.sort((a, b) => a - b)[7];
}"""
"""Median over 15 looks of the largest distance from the first video, as a fraction of a length that is played again
and again; 0.25 if a video goes its own way."""
AT_HALF = """row => [...row.querySelectorAll("video")].every(
  video => !video.seeking && Math.abs(video.currentTime - video.duration / 2) < 0.1)"""
WIDER = """() => {
  const scrolls = element => element && (/auto|scroll/.test(getComputedStyle(element).overflowX)
    ? element.getBoundingClientRect().right <= innerWidth + 1 : scrolls(element.parentElement));
  return [...document.querySelectorAll("body *")].filter(one => one.getBoundingClientRect().right > innerWidth + 1
    && one.getBoundingClientRect().width > 0 && !scrolls(one.parentElement)).map(one => one.outerHTML.slice(0, 200));
}"""


def check_videos_load(frame: Frame, at_least: int) -> None:
    """Every video of the page has a picture."""
    found = frame.evaluate(LOADED)
    assert len(found) >= at_least
    assert not [problem for problem in found if problem]


def check_rows_play_in_step(frame: Frame) -> None:
    """In every row: all videos move together, stand at one time once they are stopped, and go where the slider is
    set."""
    rows = frame.query_selector_all("[data-row]")
    assert rows
    for row in rows:
        row.scroll_into_view_if_needed()
        button, slider = row.query_selector("[data-row-play]"), row.query_selector("input")
        assert button is not None
        assert slider is not None
        assert button.inner_text() == "Play"
        button.click()
        frame.wait_for_function(MOVED, arg=row)
        assert row.evaluate(APART) < 0.15
        button.click()
        assert button.inner_text() == "Play"
        frame.wait_for_function("row => [...row.querySelectorAll('video')].every(v => v.paused && !v.seeking)", arg=row)
        times = row.evaluate(TIMES)
        assert len(times) > 1, "a row compares"
        assert max(times) - min(times) < 0.1
        slider.fill("0.5")
        frame.wait_for_function(AT_HALF, arg=row)


def check_captions(frame: Frame, captions: list[str]) -> None:
    """Each row says whole which caption it is of, in a place that is seen, and not above another row."""
    shown = frame.eval_on_selector_all("[data-row]", "rows => rows.map(row => row.querySelector('h3').innerText)")
    assert set(shown) == set(captions)
    cut = "all => all.filter(one => one.scrollWidth > one.clientWidth + 1 || one.clientHeight === 0).length"
    assert frame.eval_on_selector_all("[data-row] h3", cut) == 0
