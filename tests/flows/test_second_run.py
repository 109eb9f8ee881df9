"""The same again does nothing, and what changed is found and done; with runs that Prefect starts itself."""

import hashlib
import json
import re
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import pytest

from tests.flows.lab import Lab, wait_for
from tests.flows.toy import CAPTION, COVERED, Toy

NAMES = [stage.name for stage in COVERED]


class Seen(NamedTuple):
    """A file as it was found."""

    changed_at: int
    digest: str


class Second(NamedTuple):
    """Two runs after the first, and the stage folders before and after them."""

    full_name: UUID
    retrain: UUID
    before: dict[Path, Seen]
    after: dict[Path, Seen]


@pytest.fixture(scope="module")
def second(lab: Lab, toy: Toy, finished: UUID) -> Second:
    """The full name typed, and `retrain`, with nothing changed since the first run."""
    assert finished
    before = _stage_files(toy)
    typed = lab.command("prefect", "deployment", "run", "ltx2-lora/ltx2-lora")
    assert typed.returncode == 0, typed.stdout + typed.stderr
    full_name = UUID(re.findall(r"UUID: ([0-9a-f-]{36})", typed.stdout)[0])
    retrain = lab.submit("retrain")
    lab.wait(full_name, "Completed")
    lab.wait(retrain, "Unchanged")
    return Second(full_name, retrain, before, _stage_files(toy))


def test_every_stage_is_reused(lab: Lab, second: Second) -> None:
    assert lab.tasks(second.full_name) == dict.fromkeys(NAMES, "Reused")


def test_nothing_is_written_in_the_stages(second: Second) -> None:
    """A manifest that was found good is as it was but for its time, by which `gc` knows that it is in use."""
    assert {path: seen.digest for path, seen in second.before.items()} == {
        path: seen.digest for path, seen in second.after.items()
    }
    changed = {path.name for path in second.before if second.before[path] != second.after[path]}
    assert changed <= {"manifest.parquet"}
    assert {path.parts[-3] for path in second.before if path.name == "manifest.parquet"} == set(NAMES)


def test_retrain_does_nothing_when_nothing_changed(lab: Lab, second: Second) -> None:
    assert lab.tasks(second.retrain) == {}


def test_announced_footage_starts_retrain_which_does_what_changed(lab: Lab, toy: Toy, second: Second) -> None:
    """A caption is edited: its text alone is embedded, no clip is encoded again, and the LoRA is trained anew."""
    assert second
    grown = _grown(toy)
    announced = lab.command("ltx2-lora", "announce", str(grown.config))
    assert announced.returncode == 0, announced.stderr
    run = wait_for("run of retrain", lambda: [r for r in lab.runs("retrain") if r.id != second.retrain])[0]
    assert run.created_by is not None
    assert run.created_by.type == "AUTOMATION"
    lab.wait(run.id, "Retrained")
    assert lab.tasks(run.id) == dict.fromkeys(NAMES, "Built")
    rows = {row["stage"]: row for row in json.loads(lab.artifacts(run.id)["stages"].data)}
    computed = {name: rows[name]["computed"] for name in ("probe", "split", "embed_text", "encode_latents")}
    assert computed == {"probe": 0, "split": 0, "embed_text": 1, "encode_latents": 0}
    assert "probe is due: changed: the caption of " in lab.log(run.id)


def _grown(toy: Toy) -> Toy:
    """A copy of the finished workspace, with footage of its own in which a caption is edited."""
    grown = toy.variant("grown", copied=True, prompts={"validation": []})
    footage = grown.own_footage()
    (footage / CAPTION).write_text("A blue bar with a yellow tip stands still.\n")
    return grown


def _stage_files(toy: Toy) -> dict[Path, Seen]:
    """All files in the stages' folders; `latest.json` says only which result was last found good."""
    files = [path for path in (toy.workspace / "stages").rglob("*") if path.is_file() and path.name != "latest.json"]
    return {path: Seen(path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files}
