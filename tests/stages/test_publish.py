"""`publish` with the hub's real client, against a server on loopback: what goes there, and what a failure costs."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.plan import as_configured, plan, select
from ltx_core.errors import ConfigError
from tasks import stage_named
from tests.loopback_hub import COMMIT, digest, files, serving, settings
from tests.loopback_upload import ACCOUNT, TOKEN, WritableHub
from tests.stages.bench import EVERY_STAGE, PROMPT, Bench, Results

pytestmark = pytest.mark.whole

RUN = """
import json, os, sys
from pathlib import Path
from flows.run import run_stages
from flows.plan import select
from ltx_core.errors import LtxError
from tests.stages.bench import Bench

paths, runs = json.loads(sys.argv[1])
answers = []
for run in runs:
    token, options = run.pop("token", None), {f"publish.{name}": value for name, value in run.items()}
    kept = os.environ.get("HF_TOKEN")
    if token is not None:
        os.environ["HF_TOKEN"] = token
    bench = Bench(*map(Path, paths), options)
    try:
        (result,) = run_stages(bench.config, select("publish", None, False), bench._perform)
        answer = {"built": result.built, "rows": [row.model_dump() for row in result.manifest]}
    except LtxError as error:
        answer = {"failed": f"{type(error).__name__}: {error}"}
    os.environ["HF_TOKEN"] = kept
    answers.append(answer | {"told": bench.progress.told})
print(json.dumps(answers))
"""
REPOSITORY, CARD, LORA, RENDER = (f"{ACCOUNT}/mine", "README.md", "pytorch_lora_weights.safetensors", "renders/00.mp4")
Publish = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def publish(bench: Bench, tmp_path: Path) -> Iterator[Publish]:
    """Run `publish` alone so many times, in a process of its own whose hub is the one on loopback."""
    for kept in (WritableHub.commits, WritableHub.made, WritableHub.asked):
        kept.clear()
    with serving(tmp_path / "hub", WritableHub) as endpoint:

        def run(*runs: dict[str, Any]) -> list[dict[str, Any]]:
            paths = [str(p) for p in (bench.footage, bench.checkpoint, bench.text_encoder, bench.workspace)]
            done = subprocess.run(
                [sys.executable, "-c", RUN, json.dumps([paths, [{"dry_run": False} | run for run in runs]])],
                env=settings(endpoint, tmp_path / "home", HF_TOKEN=TOKEN),
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            found: list[dict[str, Any]] = json.loads(done.stdout)
            return found

        yield run


def test_lora_card_and_renders_are_one_commit_and_not_sent_twice(
    publish: Publish, results: Results, tmp_path: Path
) -> None:
    first, same, more = publish(
        {"repository": "mine"}, {"repository": "mine"}, {"repository": "mine", "num_renders": 3}
    )
    assert [row["name"] for row in first["rows"]] == [CARD, LORA, RENDER]
    assert {(row["repository"], row["commit"]) for row in first["rows"]} == {(REPOSITORY, COMMIT)}, "the account's own"
    assert WritableHub.made[0]["visibility"] == "private"

    there = tmp_path / "hub" / REPOSITORY
    assert [file.relative_to(there).as_posix() for file in files(there)] == [CARD, LORA, RENDER]
    assert digest(there / LORA) == digest(results["train_lora"].manifest.path.parent / "lora.safetensors")
    _, header, card = (there / CARD).read_text().split("---\n", 2)
    assert yaml.safe_load(header)["widget"] == [{"text": PROMPT, "output": {"url": RENDER}}]
    assert card.strip() == (results["register"].manifest.path.parent / "model-card.md").read_text().strip()

    assert not same["built"], "what was published is known"
    assert more["built"]
    assert [sorted(names) for names in WritableHub.commits] == [[CARD, LORA, RENDER]], "there is nothing new to commit"
    assert len([path for path in WritableHub.asked if path.startswith("/put/")]) == 2


def test_a_dry_run_says_what_would_go_where_and_asks_no_one(publish: Publish) -> None:
    (dry,) = publish({"repository": REPOSITORY, "dry_run": True, "num_renders": 0})
    assert [(row["name"], row["commit"]) for row in dry["rows"]] == [(CARD, None), (LORA, None)]
    lines = [line for line in dry["told"] if line.startswith("would be uploaded to http://127.0.0.1")]
    assert [line.split(": ")[1].split(",")[0] for line in lines] == [LORA, CARD]
    assert WritableHub.asked == []


def test_what_fails_loses_nothing_and_is_tried_again_alone(publish: Publish, bench: Bench) -> None:
    mine = {"repository": REPOSITORY}
    unknown, broken, later = publish(mine | {"token": ""}, {"repository": "broken/mine"}, mine)
    assert unknown["failed"].startswith(f"ConfigError: uploading to {REPOSITORY} needs an account of the hub")
    assert broken["failed"].startswith("TransientError: the hub answered 503 to an upload to broken/mine; nothing else")
    assert later["built"]
    assert not any(result.built for result in bench.run("register").values())


def test_off_it_is_left_out(empty: Bench) -> None:
    config = empty.set(publish__repository=None).config
    assert [one.stage.name for one in plan(config, select(None, None, force=False))] == list(EVERY_STAGE[:-1])
    with pytest.raises(ConfigError, match=r"stage publish is off, publish\.repository is not set"):
        list(plan(config, select("publish", None, force=False)))


def test_the_plan_says_what_will_leave_this_machine(empty: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(**options: Any) -> list[str]:
        config = empty.set(**{f"publish__{name}": value for name, value in options.items()}).config
        stage = stage_named("publish")
        return list(stage.warnings(as_configured(stage, config)))

    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nowhere")
    assert told(repository=None) == []
    sent, account = told(repository=REPOSITORY, dry_run=False)
    assert f"up to 4 renders go to https://huggingface.co/{REPOSITORY}, private if it is new" in sent
    assert "no account of the hub is known here" in account
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert len(told(repository=REPOSITORY, dry_run=False)) == 1
    assert ["nothing is uploaded" in line for line in told(repository=REPOSITORY, dry_run=True)] == [True]
