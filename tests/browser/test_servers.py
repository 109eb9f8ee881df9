"""The pages of MLflow and Prefect under `ltx2-lora up`: they show what runs made, play it, and ask nobody elsewhere."""

import json
from collections.abc import Mapping

import pytest
from playwright.sync_api import Browser, Frame, Page

from tasks.tracking.experiment import run_route
from tests.browser.chromium import (
    SIZES,
    WIDER,
    Watched,
    check_captions,
    check_rows_play_in_step,
    check_videos_load,
    opened,
)
from tests.browser.conftest import CAPTIONS, RANKS, Shown
from tests.connections import asked_for, leaving

NOT_FOUND = "the server responded with a status of 404 (Not Found)"
KNOWN: Mapping[str, str] = {
    f"{NOT_FOUND} /ajax-api/2.0/mlflow/users/current": "MLflow asks who the user is, but has no accounts",
    "AG Grid: since v27.1": "MLflow's table of runs has options of an older version",
    "ResizeObserver loop": "MLflow's charts find their size",
    f"{NOT_FOUND} /favicon.ico": "Prefect has none below its own address",
    f"{NOT_FOUND} /completed.svg": "Prefect's graph of a run asks for an image that is not there",
    "/v2/assets/flow-run-graph": "and says where",
    "GL Driver Message": "that graph is slow without a GPU",
    "422 (Unprocessable Entity) /api/task_runs/filter": "Prefect asks for the task of an artifact that belongs to none",
    "'https://sr-client-cfg.amplitude.com/": "Prefect counts users; our server forbids its pages to ask there",
    "Fetch API cannot load https://sr-client-cfg.amplitude.com/": "the same",
}
"""Parts of lines of MLflow 3.17's and Prefect 3.8's own pages, each with its reason; any other line fails."""
PAGES = {"report": "index.html", "gallery": "gallery.html", "samples": "samples.html"}
"""Pages of the first run as artifacts."""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PAGES)
def test_our_pages_play_inside_mlflow(browser: Browser, shown: Shown, name: str, size: str) -> None:
    owners = {"report": shown.runs[0], "gallery": shown.stages["render_validation"]}
    run = owners.get(name, shown.stages["train_lora"])
    with opened(browser, _artifact(shown, run, PAGES[name]), size) as watched:
        frame = _framed(watched.page)
        check_videos_load(frame, at_least=4)
        check_captions(frame, list(CAPTIONS))
        if size == "desk":  # on a phone MLflow's own columns leave the frame a few pixels
            assert not frame.evaluate(WIDER)
            check_rows_play_in_step(frame)
        _check_quiet(watched, shown)


def test_mlflow_s_page_of_a_run_names_it_and_has_its_result(browser: Browser, shown: Shown) -> None:
    with opened(browser, _run(shown, shown.runs[1]), "desk") as watched:
        page = watched.page
        page.get_by_text("result/eval_loss", exact=True).first.wait_for()
        assert f"rank {RANKS[1]}" in page.inner_text("h1, h2")
        page.get_by_text("base model").first.wait_for()
        _check_quiet(watched, shown)


def test_mlflow_s_page_that_compares_has_what_differs(browser: Browser, shown: Shown) -> None:
    address = f'{shown.mlflow}/#/compare-runs?runs={json.dumps(shown.runs)}&experiments=["1"]'
    with opened(browser, address, "desk") as watched:
        watched.page.get_by_text("train_lora.rank").first.wait_for()
        _check_quiet(watched, shown)


def test_mlflow_s_experiment_leads_to_the_loss_charts_of_both_runs(browser: Browser, shown: Shown) -> None:
    with opened(browser, f"{shown.mlflow}/#/experiments/1/runs?workflowType=machine_learning", "desk") as watched:
        with watched.page.expect_popup() as opening:  # MLflow opens links of a note in a tab of their own
            watched.page.get_by_role("link", name="charts", exact=True).click()
        page = opening.value
        page.locator(".js-plotly-plot").first.wait_for()
        for rank in RANKS:
            page.get_by_text(f"rank {rank}").first.wait_for()
        page.get_by_text("eval/loss", exact=True).first.wait_for()
        _check_quiet(watched, shown)


def test_links_in_a_page_inside_mlflow_lead_to_its_parts(browser: Browser, shown: Shown) -> None:
    """The frame may go nowhere, and so the page moves by itself."""
    with opened(browser, _artifact(shown, shown.runs[0], PAGES["report"]), "desk") as watched:
        frame = _framed(watched.page)
        for name in ("Settings", "Renders"):
            frame.click(f"nav a:text-is('{name}')")
            frame.wait_for_function(
                "name => { const top = document.getElementById(name).getBoundingClientRect().top;"
                " return top < innerHeight && top > -1; }",
                arg=name.lower(),
            )
        assert not frame.query_selector_all("a:not([href^='#'])")
        _check_quiet(watched, shown)


@pytest.mark.parametrize("place", range(len(RANKS)))
def test_links_of_prefect_s_artifacts_lead_where_they_say(browser: Browser, shown: Shown, place: int) -> None:
    """Of a run by its deployment, and of one that was typed; the port of MLflow is not the usual one."""
    artifacts = shown.artifacts[place]
    with opened(browser, f"{shown.prefect}/v2/artifacts/artifact/{artifacts['result']}", "desk") as watched:
        link = watched.page.get_by_role("link", name="Report", exact=True)
        watched.page.get_by_text("base model").first.wait_for()
        link.click()
        frame = _framed(watched.page)
        assert frame.inner_text("main h1") == f"Run {shown.folders[place].name}"
        assert watched.page.url == _artifact(shown, shown.runs[place], PAGES["report"])
        _check_quiet(watched, shown)
    with opened(browser, f"{shown.prefect}/v2/artifacts/artifact/{artifacts['mlflow-run']}", "phone") as watched:
        watched.page.get_by_role("link", name="MLflow run", exact=True).click()
        watched.page.wait_for_url(_run(shown, shown.runs[place]))
        watched.page.locator("h1, h2").get_by_text(f"rank {RANKS[place]}").wait_for()
        _check_quiet(watched, shown)


@pytest.mark.parametrize("size", SIZES)
def test_prefect_s_page_of_a_run_has_our_artifacts(browser: Browser, shown: Shown, size: str) -> None:
    address = f"{shown.prefect}/v2/runs/flow-run/{shown.flow_runs[0]}?tab=Artifacts"
    with opened(browser, address, size) as watched:
        for key in ("result", "stages", "quarantine", "report", "mlflow-run", "progress-train-lora"):
            watched.page.get_by_text(key, exact=True).first.wait_for()
        _check_quiet(watched, shown)


def _artifact(shown: Shown, run: str, file: str) -> str:
    return f"{shown.mlflow}/{run_route('1', run, file)}"


def _run(shown: Shown, run: str) -> str:
    return f"{shown.mlflow}/{run_route('1', run)}"


def _framed(page: Page) -> Frame:
    """Our page in MLflow's own."""
    element = page.wait_for_selector("iframe", state="attached")
    assert element is not None
    frame = element.content_frame()
    assert frame is not None
    frame.wait_for_selector("main h1", state="attached")
    return frame


def _check_quiet(watched: Watched, shown: Shown) -> None:
    """Nothing was said but what is known of the servers' own pages, and nobody was asked but the two servers."""
    assert not [line for line in watched.said if not any(part in line for part in KNOWN)]
    assert not watched.elsewhere(shown.mlflow, shown.prefect, shown.prefect.replace("http", "ws", 1))
    assert leaving(shown.up.home / "watched") == []
    assert asked_for(shown.up.home / "watched")
