"""What people look at, in a real browser: everything plays and seeks, nothing complains, nothing is asked elsewhere."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Frame, Page

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
from tests.browser.conftest import CAPTIONS, Seen

NOT_FOUND = "Failed to load resource: the server responded with a status of 404 (Not Found)"
MLFLOW_SAYS: Mapping[str, str] = {
    f"{NOT_FOUND} /ajax-api/2.0/mlflow/users/current": "it asks who the user is, but has no accounts",
}
"""Lines of MLflow 3.17's own pages, each with its reason; any other fails."""
PREFECT_SAYS: Mapping[str, str] = {}
"""The same of Prefect 3.8's."""
STEPS = ["base", "step 1", "step 2"]
FROM_DISK = [(page, size) for page in ("report", "gallery") for size in SIZES]


@pytest.mark.parametrize(("name", "size"), FROM_DISK)
def test_from_disk(browser: Browser, seen: Seen, name: str, size: str) -> None:
    page: Path = getattr(seen, name)
    with opened(browser, page.as_uri(), size) as watched:
        frame = watched.page.main_frame
        _check_page(frame)
        assert not watched.unexplained({})
        assert not watched.elsewhere(page.parent.as_uri())


@pytest.mark.parametrize("size", SIZES)
def test_samples_over_steps_are_small_and_in_order(browser: Browser, seen: Seen, size: str) -> None:
    with opened(browser, seen.report.as_uri(), size) as watched:
        rows = watched.page.query_selector_all("#samples-over-steps [data-row]")
        assert len(rows) == len(CAPTIONS)
        for row in rows:
            names = row.eval_on_selector_all(".variant", "all => all.map(one => one.textContent)")
            assert names == STEPS
            widths = row.eval_on_selector_all("video", "all => all.map(one => one.getBoundingClientRect().width)")
            assert max(widths) <= 240


def test_a_row_in_view_plays_by_itself_and_both_bars_stop_it(browser: Browser, seen: Seen) -> None:
    with opened(browser, seen.report.as_uri(), "desk") as watched:
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


def test_one_video_is_heard_at_a_time(browser: Browser, seen: Seen) -> None:
    with opened(browser, seen.report.as_uri(), "desk") as watched:
        videos = watched.page.query_selector_all("#renders [data-row] video")
        for video in videos[:2]:
            video.click()
            heard = "all => all.filter(one => !one.muted).length"
            watched.page.wait_for_function("one => !one.muted && one.classList.contains('heard')", arg=video)
            assert watched.page.eval_on_selector_all("video", heard) == 1


@pytest.mark.parametrize(("name", "size"), FROM_DISK)
def test_inside_mlflow(browser: Browser, seen: Seen, name: str, size: str) -> None:
    run, file = (seen.runs[0], "index.html") if name == "report" else (seen.renders, "gallery.html")
    address = f"{seen.mlflow}/#/experiments/1/runs/{run}/artifacts/{file}"
    with opened(browser, address, size) as watched:
        frame = _framed(watched.page)
        if size == "desk":
            _check_page(frame)
        else:  # MLflow's own columns leave the frame a few pixels there
            check_videos_load(frame, at_least=2)
            check_captions(frame, list(CAPTIONS))
        assert not watched.unexplained(MLFLOW_SAYS)
        assert not watched.elsewhere(seen.mlflow)


def test_mlflow_s_page_of_a_run(browser: Browser, seen: Seen) -> None:
    with opened(browser, f"{seen.mlflow}/#/experiments/1/runs/{seen.runs[1]}", "desk") as watched:
        watched.page.get_by_text("result/eval_loss", exact=True).first.wait_for()
        assert "rank 2" in watched.page.inner_text("h1, h2")
        assert not watched.unexplained(MLFLOW_SAYS)
        assert not watched.elsewhere(seen.mlflow)


def test_mlflow_s_page_that_compares(browser: Browser, seen: Seen) -> None:
    runs = json.dumps(seen.runs)
    with opened(browser, f'{seen.mlflow}/#/compare-runs?runs={runs}&experiments=["1"]', "desk") as watched:
        watched.page.get_by_text("train_lora.rank").first.wait_for()
        assert not watched.unexplained(MLFLOW_SAYS)
        assert not watched.elsewhere(seen.mlflow)


def test_prefect_s_page_of_a_run_with_our_artifacts(browser: Browser, seen: Seen) -> None:
    address = f"{seen.prefect}/runs/flow-run/{seen.flow_runs[0]}?tab=Artifacts"
    with opened(browser, address, "desk") as watched:
        page = watched.page
        for key in ("result", "stages", "quarantine", "report"):
            page.get_by_text(key, exact=True).first.wait_for()
        assert not watched.unexplained(PREFECT_SAYS)
        assert not watched.elsewhere(seen.prefect, seen.prefect.replace("http", "ws", 1))


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


def _framed(page: Page) -> Frame:
    """Our page in MLflow's own."""
    element = page.wait_for_selector("iframe", state="attached")
    assert element is not None
    frame = element.content_frame()
    assert frame is not None
    frame.wait_for_selector("main h1", state="attached")
    return frame
