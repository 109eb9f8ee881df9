"""The page of a run, made of what every stage really left: all it names is there, and all figures are the stages'."""

import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from flows.report.page import thinned, write_record, write_report
from flows.report.record import RECORD, record_before
from flows.report.summary import FinishedRun, summarise, terminal_rows
from flows.run_tracking import tracked_settings
from ltx_core.media.probe import probe_media
from ltx_core.report.embed import self_contained
from tests.stages.bench import EVERY_STAGE, PROMPT, Bench, copied
from tests.unit.report.test_page import Reader

pytestmark = pytest.mark.whole

MLFLOW = "http://127.0.0.1:5000/#/experiments/1/runs/abc"


def report_of(bench: Bench, name: str) -> tuple[FinishedRun, Path]:
    """The report of a run that reuses what is there."""
    summary = summarise(bench.config, name, list(bench.run(EVERY_STAGE[-1]).values()), 75.0)
    settings = tracked_settings(bench.config)
    page = write_report(bench.config, summary, settings, {"MLflow": MLFLOW}, lambda *_: None)
    write_record(summary, settings, "abc", {"result": summary.lines(), "table": terminal_rows(summary)})
    return summary, page


@pytest.fixture(scope="module")
def made(finished: Bench, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, FinishedRun, Path]:
    """A copy of the finished workspace with a report in it."""
    bench = finished.but(workspace=copied(finished.workspace, tmp_path_factory.mktemp("report") / "workspace"))
    return bench, *report_of(bench, "first")


def sources(page: Path) -> list[str]:
    """Addresses of every video, poster and link to a file."""
    read = Reader(page.read_text())
    videos = [str(tag[name]) for tag in read.all("video") for name in ("src", "poster") if tag.get(name)]
    links = [str(tag["href"]) for tag in read.all("a")]
    return [one for one in [*videos, *links] if not one.startswith(("#", "data:", "http"))]


def test_every_file_that_the_page_names_is_there_and_nothing_comes_from_outside(
    made: tuple[Bench, FinishedRun, Path],
) -> None:
    _, summary, page = made
    text = page.read_text()
    assert not re.search(r"@import|url\(|<link", text)
    assert set(re.findall(r"https?://[^\"' <]+", text)) == {MLFLOW}
    found = sources(page)
    assert all((page.parent / unquote(one)).is_file() for one in found)
    beside = [one for one in found if not one.startswith("./")]
    assert len(beside) == len(list(summary.manifest("render_validation") or ())) + 2 * len(
        list(summary.manifest("split") or ())
    )
    assert all(one.startswith(("renders/", "clips/")) for one in beside), "the folder can be moved"


def test_the_clips_play_what_training_sees(made: tuple[Bench, FinishedRun, Path]) -> None:
    _, summary, page = made
    clips = {clip.clip_key: clip for clip in summary.manifest("split") or ()}
    assert clips
    for key, clip in clips.items():
        info = probe_media(page.parent / "clips" / f"{key}.mp4")
        assert (info.width, info.height, info.num_frames) == (clip.width, clip.height, clip.num_frames)
        assert (info.audio_codec is not None) == clip.has_sound
        assert clip.caption in page.read_text()


@pytest.mark.extra
def test_samples_of_the_training_stand_over_its_steps(finished: Bench, forked_children: None, tmp_path: Path) -> None:
    """Prompt by row and step by column, with what is known of each step; the page's folder can be moved."""
    bench = finished.but(workspace=copied(finished.workspace, tmp_path / "workspace"))
    on = bench.set(train_lora__samples__every_steps=1, train_lora__samples__num_steps=2)
    on.run("train_lora", force="train_lora")
    summary, page = report_of(on, "sampled")
    text = page.read_text()
    assert text.index("Samples over steps</h2>") < text.index("Loss</h2>")
    (row,) = re.findall(
        r"<article.*?</article>", text[text.index("Samples over steps</h2>") : text.index("Loss</h2>")], re.S
    )
    assert re.findall(r'class="variant">([^<]+)<', row) == ["base", "step 1", "step 2"]
    assert PROMPT in row
    assert all(source.startswith("samples/step_") for source in re.findall(r'<video src="([^"]+)"', row))
    assert summary.checkpoint is not None
    assert f"eval loss {summary.checkpoint.base_eval_loss:.4g}" in row
    assert f"eval loss {summary.checkpoint.eval_loss:.4g}" in row
    without_training = replace(summary, results=[one for one in summary.results if one.run.stage.name != "train_lora"])
    again = write_report(on.config, without_training, tracked_settings(on.config), {}, lambda *_: None)
    assert "Samples over steps</h2>" in again.read_text(), "a run that reuses the LoRA without covering its training"


def test_base_stands_left_of_the_lora(made: tuple[Bench, FinishedRun, Path]) -> None:
    page = made[2].read_text()
    rows = re.findall(r"<article.*?</article>", page, re.DOTALL)
    assert rows
    assert {tuple(re.findall(r'class="variant">([^<]+)<', row)) for row in rows} == {("base", "candidate")}


def test_the_result_is_told_in_figures_of_the_stages(made: tuple[Bench, FinishedRun, Path]) -> None:
    bench, summary, page = made
    row = summary.checkpoint
    assert row is not None
    assert row.eval_loss is not None
    assert row.base_eval_loss is not None
    lines = "\n".join(summary.lines())
    lora = bench.place.root / row.file
    assert lines.startswith(f"LoRA         {lora} ({lora.stat().st_size / 2**10:.0f} KiB, {row.step} steps)")
    assert f"{row.eval_loss:.4f} this LoRA, {row.base_eval_loss:.4f} base model" in lines
    assert "ltx2-lora version 1, the champion" in lines
    assert "1 min, no GPU" in lines or "75 s, no GPU" in lines
    assert summary.figures["result/eval_loss"] == row.eval_loss
    assert summary.figures["cost/gpu_hours"] == 0.0
    text = page.read_text()
    assert f"{row.eval_loss:.4f} this LoRA" in text
    assert "This is the first run of this workspace." in text


def test_the_next_run_says_what_changed_and_keeps_the_previews(made: tuple[Bench, FinishedRun, Path]) -> None:
    bench, _, page = made
    before = record_before(bench.place, "second")
    assert before is not None
    assert before.name == "first"
    other = bench.set(register__model_name="other")
    _, second = report_of(other, "second")
    read = Reader(second.read_text())
    assert "Since the run first." in read.text
    at = read.text.index("register.model_name")
    assert [text for text in read.text[at : at + 8] if text.strip()][:3] == [
        "register.model_name",
        "ltx2-lora",
        "other",
    ]
    for video in (second.parent / "clips").glob("*.mp4"):
        assert video.samefile(page.parent / "clips" / video.name), "no clip is decoded again"


def test_a_copy_for_mlflow_needs_no_file(made: tuple[Bench, FinishedRun, Path]) -> None:
    copy = self_contained(made[2])
    read = Reader(copy)
    assert len(read.all("video")) == len(Reader(made[2].read_text()).all("video"))
    assert all(str(tag["src"]).startswith("data:video/mp4;base64,") for tag in read.all("video"))
    assert not [tag["href"] for tag in read.all("a") if not str(tag["href"]).startswith("#")]


def test_a_damaged_record_of_the_run_before_is_passed_over(
    made: tuple[Bench, FinishedRun, Path], tmp_path: Path
) -> None:
    bench, _, page = made
    record = page.parent / RECORD
    whole = record.read_bytes()
    try:
        record.write_bytes(whole.replace(b"ltx2-lora", b"ltx2-lorb", 1))
        assert record_before(bench.place, "second") is None
    finally:
        record.write_bytes(whole)


def test_long_curves_are_averaged() -> None:
    points = [(float(step), float(step % 2)) for step in range(1, 1001)]
    drawn = thinned(points)
    assert len(drawn) == 200
    assert drawn[-1][0] == 1000.0
    assert drawn[-1][1] == pytest.approx(0.4)
    assert thinned(points[:7]) == points[:7]
    assert thinned([]) == []


def test_gpu_hours_are_those_of_stages_that_ran_on_a_gpu(made: tuple[Bench, FinishedRun, Path]) -> None:
    _, reused, _ = made
    built = [replace(result, built=True) for result in reused.results]
    on_gpu = replace(reused, results=built, num_gpus=1)
    hours = {result.run.stage.name: on_gpu.gpu_hours(result) for result in built}
    for result in built:
        wanted = result.summary.seconds / 3600 if result.run.stage.device == "gpu" else 0.0
        assert hours[result.run.stage.name] == pytest.approx(wanted)
    assert on_gpu.all_gpu_hours == pytest.approx(sum(hours.values()))
    assert on_gpu.all_gpu_hours > 0
    assert replace(on_gpu, num_gpus=0).all_gpu_hours == 0, "on the CPU"
    assert replace(reused, num_gpus=1).all_gpu_hours == 0, "what is reused costs nothing"
