"""Files that others write while a run reads them: nothing wrong is kept, and the next run gives the right bytes."""

import importlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from datasets_spec import QuarantineReason
from flows.plan import Selection
from flows.run import run_stages
from ltx_core.errors import ChangedError
from ltx_core.io.atomic import find_whole
from tasks import STAGES, stage_named
from tasks.runtime.decide import UNSETTLED
from tasks.runtime.launch import StageResult
from tasks.runtime.stage import StageRun
from tests.stages.bench import Bench, Results, copied, perform, set_aside, write_clip

pytestmark = pytest.mark.whole

NAME = "rolling_ball.mp4"
Change = Callable[[Path, bytes], object]


def rename_over(path: Path, content: bytes) -> None:
    """As `rsync` does: written beside, the old time kept, renamed over."""
    stat, beside = path.stat(), path.with_name(".beside")
    beside.write_bytes(content)
    os.utime(beside, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    beside.replace(path)


def lead_elsewhere(path: Path, content: bytes) -> None:
    """The name becomes a link to another file."""
    other = path.with_name(".other")
    other.write_bytes(content)
    path.unlink()
    path.symlink_to(other)


POOLS = {
    "split": "split",
    "embed_text": "text",
    "encode_latents": "latents",
    "embed_frames": "frames",
    "train_lora": "none",
    "render_validation": "renders",
}
"""Where the items of a stage lie."""

CHANGES: Mapping[str, Change] = {
    "overwritten": Path.write_bytes,
    "renamed over": rename_over,
    "led elsewhere": lead_elsewhere,
    "grown": lambda path, content: path.write_bytes(path.read_bytes() + content),
}


def run(bench: Bench, last: str, before: str, event: Callable[[], object]) -> dict[str, StageResult]:
    """Every stage up to one; something happens just before one of them."""

    def with_event(due: StageRun) -> StageResult:
        if due.stage.name == before:
            event()
        return perform(due, bench.progress)

    covered = STAGES[: STAGES.index(stage_named(last)) + 1]
    results = run_stages(bench.config, Selection(covered, frozenset()), with_event)
    return {result.summary.stage: result for result in results}


@pytest.fixture
def fresh(finished: Bench, tmp_path: Path) -> Bench:
    """Footage of one's own, and a workspace that knows nothing of it but for texts."""
    workspace = tmp_path / "workspace"
    copied(finished.workspace / "pool" / "text", workspace / "pool" / "text")
    return finished.but(footage=copied(finished.footage, tmp_path / "footage"), workspace=workspace)


@pytest.fixture(scope="session")
def other_video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_clip(tmp_path_factory.mktemp("other"), "other.mp4", "waving_curtain").read_bytes()


BETWEEN = {
    ("split", "overwritten"),
    ("split", "grown"),
    ("embed_frames", "renamed over"),
    ("encode_latents", "led elsewhere"),
}
"""Each stage that reads footage, and each way; all of both in the longest tests."""


@pytest.mark.parametrize(
    ("stage", "how"),
    [
        pytest.param(stage, how, marks=() if (stage, how) in BETWEEN else pytest.mark.extra)
        for stage in ("split", "embed_frames", "encode_latents")
        for how in CHANGES
    ],
)
def test_footage_that_changes_between_stages_is_set_aside_and_poisons_nothing(
    stage: str, how: str, fresh: Bench, finished: Bench, other_video: bytes, results: Results
) -> None:
    file = fresh.footage / NAME
    for other in {"probe", *POOLS.values()} - {"none", "text", POOLS[stage]}:  # what other stages made is known
        copied(finished.workspace / "pool" / other, fresh.workspace / "pool" / other)
    original, disturbed = file.read_bytes(), run(fresh, stage, stage, lambda: CHANGES[how](file, other_video))
    aside = set_aside(disturbed[stage])
    assert [(row.source, row.reason) for row in aside] == [(NAME, QuarantineReason.CHANGED)]
    assert "run again" in aside[0].detail
    file.unlink()
    file.write_bytes(original)
    again = fresh.run(stage)
    assert again[stage].run.decided.why == UNSETTLED
    assert again[stage].summary.computed == 1
    assert again[stage].manifest.digest == results[stage].manifest.digest
    assert not any(result.built for result in fresh.run(stage).values())


@pytest.mark.extra
def test_what_a_changed_file_became_is_what_the_next_run_takes(fresh: Bench, other_video: bytes) -> None:
    file = fresh.footage / NAME
    run(fresh, "encode_latents", "encode_latents", lambda: file.write_bytes(other_video))
    again = fresh.run()
    undisturbed = fresh.but(workspace=fresh.workspace.with_name("undisturbed")).run()
    assert again["encode_latents"].manifest.digest == undisturbed["encode_latents"].manifest.digest


@pytest.mark.extra
def test_a_touched_file_is_the_same_file(fresh: Bench, results: Results) -> None:
    again = run(fresh, "encode_latents", "encode_latents", lambda: os.utime(fresh.footage / NAME, ns=(1, 1)))
    assert not set_aside(again["encode_latents"])
    assert again["encode_latents"].manifest.digest == results["encode_latents"].manifest.digest


def test_a_file_that_is_still_copied_is_not_taken_for_truncated(
    fresh: Bench, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, whole = fresh.footage / NAME, (fresh.footage / NAME).read_bytes()
    file.write_bytes(whole[: len(whole) // 2])

    def more(read: Callable[..., Any]) -> Callable[..., Any]:
        def reading(limits: Any, *rest: Any) -> Any:
            if limits.path == file and file.stat().st_size < len(whole):
                with file.open("ab") as copying:
                    copying.write(whole[file.stat().st_size :][:100])
            return read(limits, *rest)

        return reading

    around(monkeypatch, "tasks.stages.parts.file_reading", "read_apart", more)
    (row,) = set_aside(fresh.run("probe")["probe"])
    assert (row.source, row.reason) == (NAME, QuarantineReason.CHANGED)
    file.write_bytes(whole)
    assert content(fresh.run("probe")["probe"]) == content(results["probe"])


@pytest.mark.parametrize("times", [1, 2], ids=["once", "throughout"])
@pytest.mark.parametrize("stage", ["probe", "split"])
def test_a_file_that_is_away_is_looked_at_again(
    stage: str, times: int, fresh: Bench, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network's folder that is gone for a moment: of its file nothing bad is remembered."""
    if stage == "split":
        fresh.run("probe")
    file, calls, aside = fresh.footage / NAME, list[int](), fresh.footage.with_name("aside")

    def away(read: Callable[..., Any]) -> Callable[..., Any]:
        def reading(limits: Any, *rest: Any) -> Any:
            if limits.path != file or len(calls) == times:
                return read(limits, *rest)
            calls.append(1)
            file.rename(aside)
            try:
                return read(limits, *rest)
            finally:
                aside.rename(file)

        return reading

    with monkeypatch.context() as patch:
        around(patch, "tasks.stages.parts.file_reading", "read_apart", away)
        disturbed = fresh.run(stage)[stage]
    found = [(row.source, row.reason) for row in set_aside(disturbed)]
    assert found == ([] if times == 1 else [(NAME, QuarantineReason.UNREADABLE)])
    again = fresh.run(stage)[stage]
    assert again.built == (times == 2)
    assert content(again) == content(results[stage])


def test_a_file_whose_disk_fails_is_tried_again_at_every_run(own: Bench, results: Results) -> None:
    """Reading /proc/self/mem from its start is EIO, as of a bad sector."""
    file, content = own.footage / NAME, (own.footage / NAME).read_bytes()
    file.unlink()
    file.symlink_to("/proc/self/mem")
    for built in (True, False):  # it is looked at before the result is reused
        probe = own.run("probe")["probe"]
        assert [(row.source, row.reason) for row in set_aside(probe)] == [(NAME, QuarantineReason.UNREADABLE)]
        assert probe.built == built
    file.unlink()
    file.write_bytes(content)
    assert own.run()["encode_latents"].manifest.digest == results["encode_latents"].manifest.digest


def test_a_caption_edited_while_it_is_read_stops_the_stage(
    own: Bench, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    caption = (own.footage / NAME).with_suffix(".txt")
    before = caption.read_text()

    def edited(read: Callable[..., tuple[str, ...]]) -> Callable[..., tuple[str, ...]]:
        def reading(path: Path, *rest: Any) -> tuple[str, ...]:
            if path.name == NAME:
                caption.write_text("Another caption, for a moment.")
            return read(path, *rest)

        return reading

    with monkeypatch.context() as patch:
        around(patch, "tasks.stages.probe", "read_captions", edited)
        with pytest.raises(ChangedError, match=rf"{caption} changed while it was read.*run again"):
            own.run("probe")
    caption.write_text(before)
    assert content(own.run("probe")["probe"]) == content(results["probe"])


def content(result: StageResult) -> list[dict[str, Any]]:
    """The rows, wherever the footage lies."""
    return [{n: v for n, v in row.content().items() if n != "path"} for row in result.manifest]


WEIGHTS = "model/checkpoint.safetensors"
LOADS = [
    ("embed_text", "ltx_core.text.gemma", "load_gemma", "model/gemma/model.safetensors"),
    ("embed_text", "ltx_core.text.gemma", "load_text_projection", WEIGHTS),
    ("encode_latents", "tasks.stages.parts.clip_encoder", "load_video_vae", WEIGHTS),
    ("embed_frames", "ltx_core.vision.dinov2", "load_frame_encoder", "model/dinov2/model.safetensors"),
    ("train_lora", "ltx_core.engine.load", "load_denoiser", WEIGHTS),
    ("render_validation", "tasks.stages.render.phases", "load_denoiser", WEIGHTS),
    ("render_validation", "tasks.stages.render.phases", "load_video_vae", WEIGHTS),
    ("render_validation", "tasks.stages.render.phases", "stacked", "adapter.safetensors"),
    ("render_validation", "tasks.stages.render.phases", "read_picture", "picture.png"),
]
LOADED = (("embed_text", "load_gemma"), ("train_lora", "load_denoiser"), ("render_validation", "read_picture"))
"""A text encoder, what is trained, and what a user gives; the others in the longest tests."""


@pytest.fixture(scope="module")
def replaceable(finished: Bench, results: Results, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A bench whose weights, adapter and picture may be replaced for a time; every stage is done."""
    folder = tmp_path_factory.mktemp("replaceable")
    model = copied(Path(finished.checkpoint).parent, folder / "model")
    shutil.copy(results["train_lora"].run.out / "lora.safetensors", folder / "adapter.safetensors")
    draw(folder / "picture.png", 90)
    adapter = {"path": str(folder / "adapter.safetensors"), "strength": 0.5}
    bench = finished.but(
        workspace=copied(finished.workspace, folder / "workspace"),
        checkpoint=model / "checkpoint.safetensors",
        text_encoder=model / "gemma",
        vision=model / "dinov2",
    ).set(
        render_validation__adapters=[{"name": "half", "adapters": [adapter]}],
        prompts__images=[{"image": str(folder / "picture.png"), "prompt": "A ball rolls."}],
        prompts__validation=[],
        render_validation__render_base=False,
        render_validation__video_cfg=1,
        render_validation__audio_cfg=1,
    )
    bench.run("render_validation")
    return bench


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=f"{case[0]}: {case[2]}", marks=() if (case[0], case[2]) in LOADED else pytest.mark.extra)
        for case in LOADS
    ],
)
def test_weights_replaced_before_they_are_loaded_stop_the_stage_and_are_kept_nowhere(
    case: tuple[str, str, str, str], replaceable: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named by one file's digest and made of another: that must not be. The old file comes back, and all is well."""
    stage, module, function, name = case
    undisturbed = replaceable.run(stage)[stage]
    bench = replaceable.but(workspace=copied(replaceable.workspace, tmp_path / "workspace"))
    shutil.rmtree(bench.workspace / "stages" / stage)
    shutil.rmtree(bench.workspace / "pool" / POOLS[stage], ignore_errors=True)
    file = replaceable.workspace.parent / name
    aside, kept = file.with_name(f"{file.name}.aside"), pooled(bench)

    def swapped(load: Callable[..., Any]) -> Callable[..., Any]:
        def loading(*args: Any, **kwargs: Any) -> Any:
            if not aside.exists():
                file.rename(aside)
                write_other(aside, file)
            return load(*args, **kwargs)

        return loading

    try:
        with monkeypatch.context() as patch:
            around(patch, module, function, swapped)
            with pytest.raises(ChangedError, match=rf"{file} changed while it was read.*run again"):
                bench.run(stage)
    finally:
        aside.replace(file)
    sampled = {path for path in pooled(bench) if ".safetensors" in path}  # by the right transformer, before
    decoding = (stage, function) == ("render_validation", "load_video_vae")
    assert pooled(bench) - kept == (sampled - kept if decoding else set())
    again = bench.run(stage)[stage]
    assert again.built
    assert [row.content() for row in again.manifest] == [row.content() for row in undisturbed.manifest]


def draw(path: Path, grey: int) -> None:
    from PIL import Image

    Image.new("RGB", (128, 64), (grey, grey, grey)).save(path)


def write_other(source: Path, target: Path) -> None:
    """Another file that fits as well."""
    if target.suffix == ".png":
        draw(target, 200)
        return
    from safetensors import safe_open

    with safe_open(source, "pt") as file:
        metadata = file.metadata()
    save_file({name: tensor * 0.5 for name, tensor in load_file(source).items()}, target, metadata=metadata)


def pooled(bench: Bench) -> set[str]:
    """Every item of the pool."""
    pool = bench.place.store
    return {path.relative_to(pool).as_posix() for path in find_whole(pool, "**/*") if path.suffix in KINDS}


KINDS = (".json", ".tar", ".safetensors", ".mp4")


def around(patch: pytest.MonkeyPatch, module: str, name: str, wrap: Callable[[Any], Any]) -> None:
    """Put something around a function where a stage finds it."""
    found = importlib.import_module(module)
    patch.setattr(found, name, wrap(getattr(found, name)))
