"""Collecting garbage beside runs: what is in use, was used within a day, or is being written stays."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.cli.app import main
from ltx_core.errors import Stopped
from ltx_core.io.atomic import find_whole
from ltx_core.io.lock import folder_lock, try_folder_lock
from ltx_core.progress import SILENT
from tasks.runtime.collect import DAY_SECONDS, Garbage, delete_garbage, find_garbage
from tests.stages.bench import EVERY_STAGE, Bench, Notes, Results, write_clip

pytestmark = pytest.mark.whole


class Collecting(Notes):
    """Progress that collects garbage whenever anything advances: nothing kept but what is in use, whatever its age."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.place = bench.place
        self.deleted: list[Garbage] = []
        self.times = 0

    def advance(self, done: int, total: int, unit: str) -> None:
        super().advance(done, total, unit)
        self.times += 1
        self.deleted += delete_garbage(self.place, 0, 0.0)


def listed(bench: Bench, keep_runs: int = 0, min_age: float = 0.0) -> set[str]:
    found = find_garbage(bench.place, keep_runs, min_age)
    return {item.path.relative_to(bench.workspace).as_posix() for item in found}


def test_what_the_latest_results_refer_to_is_no_garbage(bench: Bench) -> None:
    assert listed(bench) == set()


@pytest.mark.extra
def test_collections_during_a_run_change_nothing_of_it(bench: Bench, results: Results) -> None:
    """Everything is made anew, from the pool's point of view, beside the old results, which go."""
    changed = bench.set(render_validation__seeds=[7], encode_latents__dtype="bf16", embed_text__dtype="bf16")
    changed = changed.set(train_lora__steps=3, split__max_black_fraction=0.8)
    collecting = Collecting(changed)
    disturbed = changed.but(progress=collecting).run(EVERY_STAGE[-1])
    assert collecting.times > 20
    assert any(item.path.suffix == ".tar" for item in collecting.deleted), "else nothing was tried"
    assert not any(result.built for result in changed.run(EVERY_STAGE[-1]).values()), "all of it is there"
    undisturbed = changed.but(workspace=bench.workspace.with_name("undisturbed")).run("render_validation")
    for name, result in undisturbed.items():
        assert disturbed[name].manifest.digest == result.manifest.digest, name


def test_collections_of_other_processes_during_a_run(own: Bench, results: Results) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tasks.runtime.workspace import Workspace;"
        "from tasks.runtime.collect import delete_garbage\n"
        "while True: list(delete_garbage(Workspace(Path(sys.argv[1])), 0, 0.0)); time.sleep(0.02)"
    )
    collectors = [subprocess.Popen([sys.executable, "-c", code, str(own.workspace)]) for _ in range(2)]
    try:
        write_clip(own.footage, "added.mp4", "sinking_sun")
        disturbed = own.run("embed_frames")
        assert all(one.poll() is None for one in collectors), "a collection ended with an error"
    finally:
        for one in collectors:
            one.kill()
            one.wait()
    undisturbed = own.but(workspace=own.workspace.with_name("undisturbed")).run("embed_frames")
    for name, result in undisturbed.items():
        assert disturbed[name].manifest.digest == result.manifest.digest, name


@pytest.mark.parametrize(
    "stage",
    ["embed_text", *(pytest.param(stage, marks=pytest.mark.extra) for stage in ("encode_latents", "embed_frames"))],
)
def test_what_a_stopped_stage_has_made_is_kept_for_it(stage: str, own: Bench) -> None:
    bench = own.but(workspace=own.workspace.with_name("new"))
    bench.run(EVERY_STAGE[EVERY_STAGE.index(stage) - 1])
    with pytest.raises(Stopped):
        bench.but(progress=Notes(stop_after=3)).run(stage)
    list(delete_garbage(bench.place, 0, 0.0))
    summary = bench.run(stage)[stage].summary
    assert summary.reused >= 2, "closed shards are there"


def test_what_an_unfinished_training_reads_is_kept_whatever_is_latest(bench: Bench, results: Results) -> None:
    longer = bench.set(train_lora__steps=4)
    with pytest.raises(Stopped):
        longer.but(progress=Notes(stop_after=3)).run("train_lora")
    bench.set(encode_latents__dtype="bf16", embed_text__dtype="bf16").run("encode_latents")
    list(delete_garbage(bench.place, 0, 0.0))
    for name in ("encode_latents", "embed_text"):
        for row in results[name].manifest:
            assert (bench.workspace / row.shard).exists()
    assert longer.run("train_lora")["train_lora"].summary.figures["resumed_from_step"] > 0


def test_what_was_used_within_a_day_stays(bench: Bench) -> None:
    other = bench.set(encode_latents__dtype="bf16")
    other.run("encode_latents")
    old = {place for place in listed(bench) if place.startswith(("stages/", "pool/latents"))}
    assert old, "what is not latest any more"
    assert not listed(bench, min_age=DAY_SECONDS)
    age(bench.workspace, DAY_SECONDS + 60)
    assert listed(bench, min_age=DAY_SECONDS) >= {place for place in old if place.endswith(".tar")}
    bench.run("encode_latents")  # reuses the first again
    other.run("encode_latents")
    assert not {place for place in listed(bench, min_age=DAY_SECONDS) if place.startswith("stages/")}


def test_a_folder_that_is_held_is_left(bench: Bench) -> None:
    bench.set(encode_latents__dtype="bf16").run("encode_latents")
    shards = find_whole(bench.place.store, "latents/*/*.tar")
    garbage = [path for path in shards if path.relative_to(bench.workspace).as_posix() in listed(bench)]
    assert garbage
    with folder_lock(garbage[0].parent, SILENT):
        list(delete_garbage(bench.place, 0, 0.0))
        assert garbage[0].exists()
    list(delete_garbage(bench.place, 0, 0.0))
    assert not garbage[0].exists()


def test_partial_files_go_when_they_are_a_day_old(bench: Bench) -> None:
    folder = next(iter(find_whole(bench.place.store, "latents/*/")))
    for place in (folder / ".partial-1.tar", bench.place.store / "renders" / ".partial-1-2-a.mp4"):
        place.write_bytes(b"half")
        list(delete_garbage(bench.place, 0, 0.0))
        assert place.exists(), "it may be at work"
        os.utime(place, (time.time() - DAY_SECONDS - 60,) * 2)
        list(delete_garbage(bench.place, 0, 0.0))
        assert not place.exists()


def test_who_waits_for_a_folder_that_is_deleted_meanwhile_makes_it_anew(tmp_path: Path) -> None:
    """The lock that it waited for belongs to no folder any more."""
    folder = tmp_path / "key"
    code = (
        "import sys; from pathlib import Path; from ltx_core.io.lock import folder_lock;"
        "from ltx_core.progress import SILENT\n"
        "with folder_lock(Path(sys.argv[1]), SILENT): Path(sys.argv[1], 'made').write_text('yes')"
    )
    with folder_lock(folder, SILENT):
        waiting = subprocess.Popen([sys.executable, "-c", code, str(folder)])
        while not _has_open(waiting.pid, folder / ".lock"):
            time.sleep(0.01)
        Garbage(folder, 0).delete()
    assert waiting.wait(60) == 0
    assert (folder / "made").exists()
    with try_folder_lock(folder) as held:
        assert held


def test_the_command_deletes_what_it_names(bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import yaml

    bench.set(encode_latents__dtype="bf16").run("encode_latents")
    config = tmp_path / "ltx2-lora.yaml"
    config.write_text(yaml.safe_dump(bench.values))
    told = []
    for options in ((), ("--older-than", "0"), ("--older-than", "0", "--yes")):
        assert main(["gc", str(config), "--keep-runs", "0", *options]) == 0
        told.append(capsys.readouterr().out)
    assert "in 0 places could be deleted" in told[0]
    assert "pool/latents" in told[1]
    assert told[1].splitlines()[:-1] == told[2].splitlines()[:-1]
    assert told[2].splitlines()[-1].endswith("deleted")
    assert listed(bench) == set()


def _has_open(pid: int, path: Path) -> bool:
    links = Path(f"/proc/{pid}/fd")
    return any(os.path.realpath(link) == str(path.resolve()) for link in links.iterdir())


def age(folder: Path, seconds: float) -> None:
    """Make every file of a folder older."""
    for path in folder.rglob("*"):
        stat = path.stat()
        os.utime(path, (stat.st_atime, stat.st_mtime - seconds))
