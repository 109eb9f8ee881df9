"""Captions by a model: of clips that have none, in text files that people edit; what a person wrote wins."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datasets_spec import Caption
from flows.config import load_config
from flows.plan import as_configured, plan, select
from flows.report.summary import summarise
from ltx_core.errors import CheckpointError, ConfigError, DataError, OutOfMemory
from tasks import stage_named
from tasks.stages.render.conditioning import held_out
from tests.captioner import write_captioner
from tests.loopback_hub import COMMIT, serving, settings
from tests.stages.bench import NUM_OTHER_TEXTS, SCENES, Bench, Results, computed, copied, set_aside

pytestmark = pytest.mark.whole
NAME = f"{SCENES[-1]}.mp4@000000000"
OTHER = f"{SCENES[-2]}.mp4@000000000"


@pytest.fixture
def mine(captioned: Bench, tmp_path: Path) -> Bench:
    """A copy of the workspace up to the captions, and of its footage, to change."""
    footage = copied(captioned.footage, tmp_path / "footage")
    return captioned.but(footage=footage, workspace=copied(captioned.workspace, tmp_path / "workspace"))


def text_file(bench: Bench, name: str = NAME) -> Path:
    return bench.workspace / "captions" / "set" / f"{name}.txt"


def rows_of(results: Results) -> list[Caption]:
    return list(results["caption"].manifest)


def test_a_clip_without_a_caption_gets_the_models(mine: Bench) -> None:
    alone = mine.but(checkpoint="./nowhere", text_encoder=None).run("caption")
    assert computed(alone)["caption"] == 0, "without the weights of LTX-2"
    results = mine.run()
    (row,) = rows_of(results)
    assert (row.clip_id, row.author, row.text_file) == (f"set/{NAME}", "model", f"captions/set/{NAME}.txt")
    assert text_file(mine).read_text() == f"{row.text}\n"
    assert row.caption
    assert row.is_cut
    captions = {latent.clip_id: latent.caption for latent in results["encode_latents"].manifest}
    assert len(captions) == len(SCENES)
    assert captions[row.clip_id] == row.caption
    assert len(list(results["embed_text"].manifest)) == len(SCENES) + NUM_OTHER_TEXTS
    told = summarise(mine.config, "run", list(results.values()), 1.0)
    assert {clip.clip_id: clip.caption for clip in told.clips or ()} == captions, "the report shows them"


def test_renders_of_held_out_clips_are_asked_for_by_the_captions_that_they_have(mine: Bench) -> None:
    bench = mine.set(datasets__0__eval_fraction=1.0)
    results = bench.run()
    inputs = {name: results[name].manifest for name in ("split", "encode_latents")}
    run = replace(as_configured(stage_named("render_validation"), bench.config), inputs=inputs)
    captions = {clip.clip_id: clip.caption for clip, _ in held_out(run, "i2v")}
    assert captions == {row.clip_id: row.caption for row in inputs["encode_latents"]}
    assert captions[f"set/{NAME}"] == rows_of(results)[0].caption != ""


def test_what_a_person_writes_wins_and_is_never_overwritten(mine: Bench) -> None:
    (mine.footage / f"{SCENES[-2]}.txt").write_text("\n")  # an empty file is no caption
    first = mine.run("embed_text")
    assert computed(first)["caption"] == 1
    answers = {row.clip_id: row.text for row in rows_of(first)}
    text_file(mine).write_text("A bar  that I saw.\n")
    edited = mine.run("embed_text")
    assert computed(edited) == {"probe": 0, "split": 0, "caption": 0, "embed_text": 1}
    assert edited["caption"].run.decided.why == f"changed: captions/set/{NAME}.txt is new"
    assert {row.clip_id: (row.author, row.caption) for row in rows_of(edited)} == {
        f"set/{NAME}": ("person", "A bar that I saw."),
        f"set/{OTHER}": ("model", answers[f"set/{OTHER}"]),
    }
    asked_otherwise = mine.set(caption__prompt="Say it.")
    assert computed(asked_otherwise.run("caption"))["caption"] == 1, "the model is not asked about the other clip"
    assert text_file(mine).read_text() == "A bar  that I saw.\n"
    assert text_file(mine, OTHER).read_text().strip() != answers[f"set/{OTHER}"]
    assert computed(mine.run("caption"))["caption"] == 0
    assert text_file(mine, OTHER).read_text().strip() == answers[f"set/{OTHER}"], "the files are as the rows are"
    for name in (NAME, OTHER):
        text_file(mine, name).unlink()
        again = mine.run("caption")
        assert "is gone" in again["caption"].run.decided.why
        assert computed(again)["caption"] == 0, "the store knows the answer"
        assert text_file(mine, name).read_text().strip() == answers[f"set/{name}"]


def test_killed_between_two_clips_it_goes_on_with_the_next(mine: Bench) -> None:
    for scene in SCENES[:3]:
        (mine.footage / f"{scene}.txt").unlink()
    if (child := os.fork()) == 0:
        _killed_at_the_third_answer(mine)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert len(list((mine.workspace / "captions").rglob("*.txt"))) == 3, "one of before, and two new ones"
    results = mine.run("caption")
    assert computed(results)["caption"] == 1
    assert len(rows_of(results)) == 4
    together = mine.set(caption__batch_size=3).run("caption", force="caption")
    assert computed(together)["caption"] == 4
    assert rows_of(together) == rows_of(results), "in batches as one by one"


def _killed_at_the_third_answer(bench: Bench) -> None:
    from ltx_core.vision.captioner import Captioner

    answers, asked = Captioner.answers, []

    def counted(self: Any, *arguments: Any) -> Any:
        asked.append(1)
        if len(asked) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return answers(self, *arguments)

    Captioner.answers = counted  # type: ignore[method-assign]
    try:
        bench.run("caption")
    finally:
        os._exit(0)


def test_no_words_and_bad_files_are_set_aside(mine: Bench, tmp_path: Path) -> None:
    silent = write_captioner(tmp_path / "silent")
    (silent / "generation_config.json").write_text(json.dumps({"eos_token_id": 1, "forced_eos_token_id": 1}))
    with pytest.raises(DataError, match=r"caption quarantined 1 of 1 clips \(1 no_caption\)"):
        mine.set(caption__model=str(silent), caption__max_tokens=1).run("caption")
    text_file(mine).write_bytes(b"\xff\xfe\xfd")
    (mine.footage / f"{SCENES[0]}.txt").unlink()
    kept = mine.set(limits__max_quarantined_fraction=0.5).run("caption")
    assert [(one.item, one.reason) for one in set_aside(kept["caption"])] == [(f"set/{NAME}", "bad_caption")]
    text_file(mine).write_text(" \n")
    emptied = mine.set(limits__max_quarantined_fraction=0.5).run()
    assert [(one.item, one.reason) for one in set_aside(emptied["caption"])] == [(f"set/{NAME}", "no_caption")]
    assert len(list(emptied["encode_latents"].manifest)) == len(SCENES) - 1


def test_a_twin_has_the_text_of_its_clip_unless_it_names_a_side(mine: Bench) -> None:
    held_out_none = mine.set(datasets__0__flip="horizontal", datasets__0__eval_fraction=0)
    rows = rows_of(held_out_none.run("caption"))
    assert [row.clip_id for row in rows] == [f"set/{NAME}", f"set/{NAME}~mirrored"]
    assert rows[0].text == rows[1].text
    text_file(mine).write_text("It turns to the left.")
    again = held_out_none.but()
    assert [row.clip_id for row in rows_of(again.run("caption"))] == [f"set/{NAME}"]
    assert "1 clips are not mirrored, because their captions say left or right" in again.progress.told


def test_people_are_told_where_to_look(mine: Bench) -> None:
    text_file(mine, "renamed.mp4@000000000").write_text("Of a file that is gone.")
    mine.set(caption__prompt="Say it.").run("caption")
    lines = mine.set(caption__prompt="Say what.").but()
    lines.run("caption")
    told = "\n".join(lines.progress.told)
    assert f"1 captions end in the middle, at caption.max_tokens 12, such as captions/set/{NAME}.txt" in told
    assert "1 texts that people wrote belong to no clip any more, such as captions/set/renamed.mp4" in told
    assert f"the captions are in {mine.workspace / 'captions'}" in told


def test_the_plan_says_what_it_will_do(mine: Bench) -> None:
    def planned(**options: Any) -> tuple[str, ...]:
        config = mine.set(caption__prompt="Say it.", **options).config
        return next(one.memory for one in plan(config, select("caption", None, force=False)))

    (line,) = planned()
    assert line.endswith("people wrote 0 of these captions, and the model writes 1")
    card = {"memory__device": "auto", "memory__gpu_gib": 24}
    assert planned(**card)[1].startswith("24 GiB card: the model takes about 0.0 GiB; it fits")
    assert len(planned(caption__device="cpu", **card)) == 1
    with pytest.raises(OutOfMemory, match=r"take a smaller model.*or caption\.device: cpu"):
        planned(memory__device="auto", memory__gpu_gib=0.7)


FETCH = """
import json, sys
from flows.config import load_config
from flows.plan import as_configured, downloads, plan
from flows.plan import select
from tasks import stage_named
config = load_config(json.loads(sys.argv[1]), json.loads(sys.argv[2]))
only, stage = select("caption", None, force=False), stage_named("caption")
pending = downloads(config, only)
reasons = [one.why for one in plan(config, only, pending)]
folder = stage.prepare(as_configured(stage, config)).model
print(json.dumps([sorted(file.name for file in pending), reasons, folder, len(downloads(config, only))]))
"""


def test_a_model_of_the_hub_is_planned_with_its_files_and_fetched_once(mine: Bench, tmp_path: Path) -> None:
    folder = write_captioner(tmp_path / "hub" / "ann" / "talker")
    (folder / "pytorch_model.bin").write_bytes(b"not read")
    (folder / "consolidated.safetensors").write_bytes(b"the same weights again")
    options = {**mine.options, "caption.model": "ann/talker"}
    with serving(tmp_path / "hub") as endpoint:
        done = subprocess.run(
            [sys.executable, "-c", FETCH, json.dumps(mine.values), json.dumps(options)],
            env=settings(endpoint, tmp_path / "home"),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    pending, reasons, fetched, left = json.loads(done.stdout)
    assert {"config.json", "chat_template.jinja", "model.safetensors", "tokenizer.json"} <= set(pending)
    assert not {"pytorch_model.bin", "consolidated.safetensors"} & set(pending)
    assert reasons == ["after the download"]
    assert (Path(fetched).name, left) == (COMMIT, 0)


def test_off_it_is_left_out(empty: Bench) -> None:
    assert "caption" not in [one.stage.name for one in plan(empty.config, select(None, None, force=False))]
    with pytest.raises(ConfigError, match=r"stage caption is off, caption\.model is not set"):
        list(plan(empty.config, select("caption", None, force=False)))


def test_what_cannot_be_asked_is_refused_before_anything_is_computed(captioned: Bench, tmp_path: Path) -> None:
    fresh = captioned.but(workspace=tmp_path / "workspace")
    mute = write_captioner(tmp_path / "mute")
    (mute / "chat_template.jinja").unlink()
    blind = write_captioner(tmp_path / "blind")
    for name in ("processor_config.json", "preprocessor_config.json"):
        (blind / name).unlink()
    moving = write_captioner(tmp_path / "moving")
    (moving / "video_preprocessor_config.json").write_text("{}")
    for folder, message in (
        (mute, "has no chat template"),
        (blind, "without a processor sees no frames"),
        (moving, "pip install torchvision"),
        (captioned.footage, r"config\.json cannot be read"),
        (tmp_path / "nowhere", "is not there"),
    ):
        with pytest.raises(CheckpointError, match=message):
            fresh.set(caption__model=str(folder)).run("caption")
    assert not (tmp_path / "workspace" / "stages").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"datasets.0.captions": {}}, r"caption\.model is set and no dataset has captions\.missing: model"),
        ({"caption": {}}, r"captions\.missing 'model' and caption\.model is not set"),
        ({"caption.temperature": 0.7, "caption.batch_size": 2}, "would depend on the others"),
        ({"datasets.0.caption_strategy": "filename"}, "gives every file a caption"),
    ],
)
def test_options_without_effect_are_refused(captioned: Bench, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(captioned.values, {**captioned.options, **options})
