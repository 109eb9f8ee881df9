"""Whatever is damaged in a workspace, the next run gives the same results or one clear line, and `verify` names it."""

from functools import partial
from pathlib import Path

import pytest
import yaml

from flows.cli.app import main
from flows.plan import select
from flows.run import run_stages
from ltx_core.errors import DamagedError, LtxError
from ltx_core.progress import SILENT
from scripts.corrupt import corrupt
from tasks.runtime.execute import Summary
from tasks.runtime.launch import reuse_or_build
from tasks.runtime.stage import StageRun
from tasks.runtime.verify import repair, verify
from tests.stages.bench import EVERY_STAGE, Bench, Results, tree

pytestmark = pytest.mark.whole

LAST = EVERY_STAGE[-1]
SEEDS = [*range(2), *(pytest.param(seed, marks=pytest.mark.extra) for seed in range(2, 14))]
"""Each with three files damaged at once. What `corrupt` can do to one kind of file: the test of every kind, below."""


def same(found: Results, wanted: Results) -> None:
    for name, result in wanted.items():
        assert [row.content() for row in found[name].manifest] == [row.content() for row in result.manifest], name
        assert found[name].run.decided.key == result.run.decided.key


def whole(bench: Bench) -> None:
    left = list(verify(bench.place, SILENT))
    assert not left


@pytest.mark.parametrize("seed", SEEDS)
def test_the_next_run_gives_the_same_or_one_line(seed: int, bench: Bench, results: Results) -> None:
    told = [corrupt(bench.workspace, 100 * seed + number) for number in range(3)]
    refused = ""
    try:
        again = bench.run(LAST)
    except LtxError as error:
        refused = str(error)
    if refused:
        assert "\n" not in refused, told
        assert "verify CONFIG --repair" in refused, told
        for damage in list(verify(bench.place, SILENT)):
            assert repair(bench.place, damage, SILENT), (damage, told)
        again = bench.run(LAST)
    same(again, results)
    assert not any(result.built for result in bench.run(LAST).values()), told


def test_verify_names_every_damaged_file_and_repair_makes_the_next_run_right(bench: Bench, results: Results) -> None:
    """Every kind of file that the workspace has, one bit of each."""
    whole(bench)
    files = [p for name in ("pool", "stages") for p in sorted((bench.workspace / name).rglob("*")) if p.is_file()]
    files = [p for p in files if not p.name.startswith(".") and not p.with_suffix("").suffix]  # not what vouches for it
    chosen = {(p.relative_to(bench.workspace).parts[1], p.suffix): p for p in files}
    assert len(chosen) > 20
    for path in chosen.values():
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(bytes(data))
    found = list(verify(bench.place, SILENT))
    named = {damage.path for damage in found}
    assert not [path.relative_to(bench.workspace) for path in chosen.values() if path not in named]
    for damage in found:
        assert "\n" not in damage.problem
        assert repair(bench.place, damage, SILENT)
    same(bench.run(LAST), results)
    whole(bench)


def test_verify_changes_nothing(bench: Bench) -> None:
    before = tree(bench.workspace)
    whole(bench)
    corrupt(bench.workspace, 3)
    between = tree(bench.workspace)
    list(verify(bench.place, SILENT))
    assert tree(bench.workspace) == between != before


def test_the_command_ends_with_one_and_a_line_for_each(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = _written(bench, tmp_path)
    assert main(["verify", str(config)]) == 0
    assert "is as it was written" in capsys.readouterr().out
    lora = next(bench.workspace.glob("stages/train_lora/*/lora.safetensors"))
    lora.write_bytes(lora.read_bytes()[:-1])
    latest = bench.workspace / "stages" / "probe" / "latest.json"
    latest.write_text("{}")
    assert main(["verify", str(config)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert [line for line in lines if "lora.safetensors has other bytes than were written" in line]
    assert [line for line in lines if "latest.json is damaged: it has no digest" in line]
    assert lines[-1] == "2 damaged; --repair removes what a run can make again"
    assert main(["verify", str(config), "--repair"]) == 0
    assert not lora.exists()
    assert main(["verify", str(config)]) == 1, "the result still names what was removed"
    assert bench.run("train_lora")["train_lora"].built
    capsys.readouterr()
    assert main(["verify", str(config)]) == 0


def test_footage_is_named_and_never_removed(own: Bench) -> None:
    own.run("split")
    clip = own.footage / "rolling_ball.mp4"
    clip.write_bytes(clip.read_bytes()[:1000])
    (damage,) = verify(own.place, SILENT)
    assert damage.path == clip
    assert not repair(own.place, damage, SILENT)
    assert clip.exists()


def test_a_lora_that_was_changed_is_not_rendered(bench: Bench, results: Results) -> None:
    (row,) = (row for row in results["train_lora"].manifest if row.name == "final")
    lora = bench.workspace / row.file
    data = bytearray(lora.read_bytes())
    data[-3] ^= 1
    lora.write_bytes(bytes(data))
    decision = bench.due(results["train_lora"].run.stage, results).decided
    assert decision.why == f"{row.file} has other bytes than were written"
    same(bench.run(LAST), results)
    assert lora.read_bytes()[-3] == data[-3] ^ 1


def test_a_damaged_render_is_made_again_and_gets_no_digest_of_its_own(bench: Bench, results: Results) -> None:
    videos = sorted((bench.workspace / "pool" / "renders").glob("*.mp4"))
    before = [video.read_bytes() for video in videos]
    for video in videos:
        video.write_bytes(video.read_bytes()[:-200])
    # another key of the stage, so that only the files in the pool are asked
    again = bench.set(prompts__validation=["A ball rolls.", "A bar turns."]).run("render_validation")
    assert again["render_validation"].summary.computed == 4
    assert [video.read_bytes() for video in videos] == before
    same(bench.run(LAST), results)


def test_an_older_checkpoint_whose_lora_is_damaged_is_trained_again(bench: Bench, results: Results) -> None:
    (row,) = (row for row in results["train_lora"].manifest if row.step == 1)
    (bench.workspace / row.file).write_bytes(b"")
    again = bench.run("train_lora")["train_lora"]
    assert again.summary.figures["resumed_from_step"] == 0
    assert [r.content() for r in again.manifest] == [r.content() for r in results["train_lora"].manifest]


def test_a_manifest_of_another_run_in_its_place_is_noticed(bench: Bench, results: Results) -> None:
    """It is whole, and of the same stage; only the counts beside it know that it is not theirs."""
    other = bench.set(datasets__0__repeats=3).run("split")["split"].manifest
    own = results["split"].manifest
    place = bench.place.stage("split", results["split"].run.decided.key) / own.path.name
    assert other.digest != own.digest
    place.write_bytes(other.path.read_bytes())
    again = bench.run("split")["split"]
    assert again.run.decided.why == f"{bench.place.relative(place)} holds other rows than were written"
    assert again.manifest.digest == own.digest


@pytest.mark.parametrize("name", ["summary.json", "quarantine.parquet", "config.json", "contact-sheet-set-train.png"])
@pytest.mark.parametrize("how", ["empty", "gone"])
def test_what_lies_beside_a_manifest_is_part_of_the_result(name: str, how: str, bench: Bench, results: Results) -> None:
    folder = bench.place.stage("split", results["split"].run.decided.key)
    before = (folder / name).read_bytes()
    (folder / name).unlink() if how == "gone" else (folder / name).write_bytes(b"")
    again = bench.run("split")["split"]
    assert again.built
    assert again.summary.computed == 0
    if name != "summary.json":  # it says how long it took
        assert (folder / name).read_bytes() == before


def test_one_stage_alone_names_a_damaged_input(bench: Bench, results: Results) -> None:
    """Nobody decides about stages that are not covered, so that what they made is read as it lies there."""
    manifest = bench.place.stage("encode_latents", results["encode_latents"].run.decided.key) / "manifest.parquet"
    manifest.write_bytes(manifest.read_bytes()[:-5])

    def never(execution: StageRun) -> Summary:
        raise AssertionError(f"{execution.stage.name} is computed")

    with pytest.raises(DamagedError, match=r"manifest\.parquet is damaged: .* `ltx2-lora verify CONFIG --repair`"):
        run_stages(bench.config, select("train_lora", None, False), partial(reuse_or_build, build=never))


def _written(bench: Bench, folder: Path) -> Path:
    path = folder / "ltx2-lora.yaml"
    path.write_text(yaml.safe_dump(bench.values))
    return path
