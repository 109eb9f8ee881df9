"""What people look at, in a real browser: everything plays and seeks, nothing complains, nothing is asked elsewhere."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Frame

from tests.browser.chromium import (
    MOVED,
    SIZES,
    WIDER,
    check_captions,
    check_rows_play_in_step,
    check_videos_load,
    opened,
    program,
)
from tests.browser.conftest import CAPTIONS, Shown

STEPS = ["base", "step 1", "step 2"]
FROM_DISK = [(page, size) for page in ("report", "gallery") for size in SIZES]


@pytest.mark.parametrize(("name", "size"), FROM_DISK)
def test_from_disk(browser: Browser, shown: Shown, name: str, size: str) -> None:
    page: Path = getattr(shown, name)
    with opened(browser, page.as_uri(), size) as watched:
        frame = watched.page.main_frame
        _check_page(frame)
        assert not watched.said
        assert not watched.elsewhere(page.parent.as_uri())


@pytest.mark.parametrize("size", SIZES)
def test_samples_over_steps_are_small_and_in_order(browser: Browser, shown: Shown, size: str) -> None:
    with opened(browser, shown.report.as_uri(), size) as watched:
        rows = watched.page.query_selector_all("#samples-over-steps [data-row]")
        assert len(rows) == len(CAPTIONS)
        for row in rows:
            names = row.eval_on_selector_all(".variant", "all => all.map(one => one.textContent)")
            assert names == STEPS
            widths = row.eval_on_selector_all("video", "all => all.map(one => one.getBoundingClientRect().width)")
            assert max(widths) <= 240


def test_a_row_in_view_plays_by_itself_and_both_bars_stop_it(browser: Browser, shown: Shown) -> None:
    with opened(browser, shown.report.as_uri(), "desk") as watched:
        page = watched.page
        page.emulate_media(reduced_motion="no-preference")
        page.reload()
        for part in ("#renders", "#samples-over-steps"):
            row = page.query_selector(f"{part} [data-row]")
            assert row is not None
            row.scroll_into_view_if_needed()
            page.wait_for_function(MOVED, arg=row)
            page.click(f"{part} [data-do=play]")
            page.wait_for_function("row => [...row.querySelectorAll('video')].every(one => one.paused)", arg=row)
            page.click(f"{part} [data-do=play]")


def test_one_video_is_heard_at_a_time(browser: Browser, shown: Shown) -> None:
    with opened(browser, shown.report.as_uri(), "desk") as watched:
        videos = watched.page.query_selector_all("#renders [data-row] video")
        for video in videos[:2]:
            video.click()
            heard = "all => all.filter(one => !one.muted).length"
            watched.page.wait_for_function("one => !one.muted && one.classList.contains('heard')", arg=video)
            assert watched.page.eval_on_selector_all("video", heard) == 1


def test_a_machine_without_a_browser_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(pytest.fail.Exception, match="apt install chromium"):
        program()


def _check_page(frame: Frame) -> None:
    check_videos_load(frame, at_least=4)
    check_captions(frame, list(CAPTIONS))
    assert not frame.evaluate(WIDER)
    assert frame.evaluate("document.documentElement.scrollWidth <= innerWidth")
    check_rows_play_in_step(frame)
