"""What users get wrong: one clear error, and nothing that was finished is lost."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from datasets_spec import Manifest, Quarantined, QuarantineReason
from flows.config import load_config
from ltx_core.errors import CheckpointError, ConfigError, DataError, LtxError, StorageError, TransientError
from ltx_core.io.atomic import owner_mark
from ltx_core.io.digest import file_digest, text_digest
from ltx_core.io.table_file import write_table
from tasks import stage_named
from tests.stages.bench import SCENES, Bench, Results, computed, moved_away, set_aside, write_clip
from tests.stages.small_disk import fill, mounted

pytestmark = pytest.mark.whole

MIB = 2**20


def assert_nothing_lost(bench: Bench) -> None:
    """What ran before the mishap is still found good."""
    assert not any(result.built for result in bench.run().values())


class TestConfiguration:
    @pytest.mark.parametrize(
        ("wrong", "near"),
        [
            ("train_lora.learning_rat", "learning_rate"),
            ("datasets.0.resolutoin", "resolution"),
            ("datasets.0.video.num_frame", "num_frames"),
            ("memroy", "memory"),
        ],
    )
    def test_unknown_option_names_the_nearest(self, wrong: str, near: str, empty: Bench) -> None:
        with pytest.raises(ConfigError, match=rf"unknown option '{wrong}'; did you mean '{near}'\?"):
            load_config(empty.values, {wrong: 1})

    def test_all_faults_are_told_at_once(self, empty: Bench) -> None:
        with pytest.raises(ConfigError, match=r"(?s)several options are wrong.*split\.colour.*train_lora\.rank.* is 0"):
            load_config(empty.values, {"train_lora.rank": 0, "split.colour": "red"})

    def test_missing_section_is_named(self, empty: Bench) -> None:
        values = {name: value for name, value in empty.values.items() if name != "model"}
        with pytest.raises(ConfigError, match="option 'model' is missing; set it"):
            load_config(values, {})

    def test_two_datasets_of_one_name(self, empty: Bench) -> None:
        with pytest.raises(ConfigError, match="'set' is given more than once"):
            load_config(empty.values | {"datasets": empty.values["datasets"] * 2}, {})

    def test_missing_file_says_how_to_get_one(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"there is no configuration file .*ltx2-lora miniature demo"):
            load_config(tmp_path / "mine.yaml", {})

    def test_torn_file_says_where(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text("datasets: [\n")
        with pytest.raises(ConfigError, match=r"(?s)mine.yaml is not valid YAML: .*line 2"):
            load_config(path, {})


class TestFootageFolder:
    def test_missing(self, own: Bench) -> None:
        own.run()
        with (
            moved_away(own.footage),
            pytest.raises(DataError, match=f"'set': {own.footage} is not there; set instance"),
        ):
            own.run()
        assert_nothing_lost(own)

    def test_a_file(self, own: Bench) -> None:
        with pytest.raises(DataError, match=r"rolling_ball.mp4 is a file; set instance_data_dir to the folder"):
            own.but(footage=own.footage / "rolling_ball.mp4").run()

    def test_empty(self, own: Bench, tmp_path: Path) -> None:
        own.run()
        nothing = tmp_path / "nothing"
        nothing.mkdir()
        (nothing / "notes.txt").write_text("no media here")
        with pytest.raises(DataError, match=rf"no media files under {nothing}; put videos"):
            own.but(footage=nothing).run()
        assert_nothing_lost(own)


class TestWeights:
    """Refused before any stage begins: neither the old results nor the disk change."""

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"\xff" * 4096, r"does not start like a safetensors file"),
            (b"version https://git-lfs.github.com/spec/v1\n" * 3, r"does not start like a safetensors file"),
            (b"", r"\(0 bytes\) does not start like a safetensors file"),
        ],
        ids=["garbage", "text", "empty"],
    )
    def test_not_a_checkpoint(self, content: bytes, message: str, bench: Bench, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            bench.but(checkpoint=path).run()
        assert_nothing_lost(bench)

    def test_a_lora_in_place_of_the_checkpoint(self, bench: Bench, results: Results) -> None:
        lora = results["train_lora"].manifest.path.parent / "lora.safetensors"
        with pytest.raises(CheckpointError, match=r"lora.safetensors .*seems to be a LoRA.*combined"):
            bench.but(checkpoint=lora).run()
        assert_nothing_lost(bench)

    def test_torn_checkpoint(self, bench: Bench, tmp_path: Path) -> None:
        torn = tmp_path / "torn.safetensors"
        torn.write_bytes(bench.checkpoint.read_bytes()[:-1000])
        with pytest.raises(CheckpointError, match=r"is torn: .* Download or copy it again"):
            bench.but(checkpoint=torn).run()

    def test_missing_checkpoint(self, bench: Bench, tmp_path: Path) -> None:
        with pytest.raises(
            CheckpointError, match=r"model.checkpoint .*gone.safetensors is not there; set it to a combined"
        ):
            bench.but(checkpoint=tmp_path / "gone.safetensors").run()

    def test_missing_text_encoder(self, bench: Bench, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"model.text_encoder .*gone is not there; set it to the folder"):
            bench.but(text_encoder=tmp_path / "gone").run()
        assert_nothing_lost(bench)

    @pytest.mark.parametrize("lost", ["config.json", "model.safetensors", "tokenizer.json"])
    def test_incomplete_text_encoder(self, lost: str, bench: Bench, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(bench.text_encoder, tmp_path / "gemma"))
        (folder / lost).unlink()
        with pytest.raises(CheckpointError, match=str(folder)):
            bench.but(text_encoder=folder).run()
        assert_nothing_lost(bench)

    def test_text_encoder_of_another_size(self, bench: Bench, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(bench.text_encoder, tmp_path / "gemma"))
        config = json.loads((folder / "config.json").read_text())
        config["text_config"]["hidden_size"] *= 2
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(CheckpointError, match=r"gives \d+ x \(\d+ \+ 1\) = \d+ values a token .* takes \d+"):
            bench.but(text_encoder=folder).run()
        assert_nothing_lost(bench)


class TestQuarantine:
    def test_each_bad_file_has_its_reason_and_the_rest_goes_on(self, own: Bench) -> None:
        expected = _break_some(own.footage)
        own = own.set(limits__max_quarantined_fraction=0.9)
        probe = own.run()["probe"]
        found = {row.source: row.reason for row in set_aside(probe)}
        assert found == expected
        assert probe.summary.num_in == len(SCENES) + len(expected)
        assert probe.summary.num_out == len(SCENES)
        assert all(row.detail and row.path.startswith(str(own.footage)) for row in set_aside(probe))

    def test_a_file_mended_costs_one_item(self, own: Bench) -> None:
        own = own.set(limits__max_quarantined_fraction=0.9)
        (own.footage / "gone.mp4").symlink_to(own.footage / "nowhere.mp4")
        (own.footage / "gone.txt").write_text("Gone.\n")
        own.run()
        (own.footage / "gone.mp4").unlink()
        write_clip(own.footage, "gone.mp4", "sinking_sun")
        again = own.run()
        assert computed(again) == {"probe": 1, "split": 1, "embed_text": 1, "encode_latents": 1}

    def test_too_many_bad_files_stop_the_stage_and_name_the_reasons(self, own: Bench) -> None:
        expected = _break_some(own.footage)
        with pytest.raises(
            DataError, match=r"probe quarantined \d+ of \d+ files \(.*1 no_caption.*unreadable"
        ) as caught:
            own.run()
        assert "limits.max_quarantined_fraction" in str(caught.value)
        (folder,) = (own.workspace / "stages" / "probe").glob("*/")
        listed = list(Manifest(folder / "quarantine.parquet", Quarantined))
        assert {row.source: row.reason for row in listed} == expected
        assert not (folder / "manifest.parquet").exists()

        allowed = own.set(limits__max_quarantined_fraction=0.9).run()
        assert allowed["probe"].run.out == folder
        assert computed(allowed)["probe"] == 0

    def test_nothing_usable_is_an_error_whatever_the_limit(self, own: Bench) -> None:
        for caption in own.footage.glob("*.txt"):
            caption.unlink()
        with pytest.raises(DataError, match=rf"quarantined {len(SCENES)} of {len(SCENES)} files"):
            own.set(limits__max_quarantined_fraction=1.0).run()

    def test_clips_that_are_too_short_are_told_with_what_is_wanted(self, own: Bench) -> None:
        write_clip(own.footage, "brief.mp4", "sinking_sun", num_frames=5)
        (row,) = set_aside(own.run()["split"])
        assert row.reason == QuarantineReason.TOO_SHORT
        assert "5 frames" in row.detail
        assert "Lower num_frames" in row.detail


class TestFullDisk:
    def test_finished_items_are_kept_and_the_run_completes_once_there_is_room(
        self, own: Bench, small_disk: Path, results: Results
    ) -> None:
        """Probe and split fit; then the disk fills up while texts or latents are written."""
        own = own.but(workspace=small_disk / "workspace")
        own.run("split")
        ballast = small_disk / "ballast"
        fill(ballast, leave=4096)
        with pytest.raises(StorageError, match=r"disk of .* is full .*Finished items are kept: free some space"):
            own.run()
        assert not list((own.workspace / "stages" / "embed_text").glob("*/manifest.parquet"))
        ballast.unlink()

        again = own.run()
        assert [again[name].built for name in ("probe", "split")] == [False, False]
        assert again["split"].manifest.digest == results["split"].manifest.digest
        assert again["encode_latents"].manifest.digest == results["encode_latents"].manifest.digest
        assert not list(own.workspace.rglob("*partial*"))

    def test_shards_closed_before_it_was_full_are_kept(self, own: Bench, small_disk: Path, results: Results) -> None:
        """The disk fills up after the first shard of latents was closed."""
        own = own.but(workspace=small_disk / "workspace").set(encode_latents__shard_max_samples=1)
        own.run("embed_text")
        ballast = small_disk / "ballast"
        filling = own.but(progress=_FillsDisk(ballast))
        with pytest.raises(StorageError, match="is full"):
            filling.run()
        ballast.unlink()
        again = own.run()
        assert (
            0 < computed(again)["encode_latents"] < len(SCENES)
        )  # how many were closed by then is the threads' affair
        assert again["encode_latents"].manifest.digest == results["encode_latents"].manifest.digest

    def test_a_table_that_was_refused_is_not_left_open(self, small_disk: Path) -> None:
        """As long as anybody keeps the error, its space would stay taken and the disk mounted."""
        fill(small_disk / "ballast", leave=0)
        with pytest.raises(StorageError, match="is full") as kept:
            write_table(small_disk / "table.parquet", pa.table({"number": list(range(20_000))}))
        held = {os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()}
        assert not [path for path in held if path.startswith(f"{small_disk}/")], kept.value

    def test_a_write_that_the_kernel_refuses(self, own: Bench) -> None:
        """Needs no right to mount: what one item writes goes to /dev/full, which has no room for anything."""
        shutil.rmtree(own.workspace)
        item = text_digest(file_digest(own.footage / "rolling_ball.mp4"), stage_named("probe").full_version)
        place = own.workspace / "pool" / "probe" / item[:2]
        place.mkdir(parents=True)
        (place / f".partial-{owner_mark()}-{item}.json").symlink_to("/dev/full")
        with pytest.raises(StorageError, match=rf"disk of {place / item}.json is full"):
            own.run("probe")
        before = sorted(SCENES).index("rolling_ball")
        assert computed(own.run("probe")) == {"probe": len(SCENES) - before}

    def test_read_only_disk(self, own: Bench, small_disk: Path) -> None:
        own = own.but(workspace=small_disk / "workspace")
        own.run("probe")
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
        with pytest.raises(StorageError, match=r"cannot write .*Read-only file system.*Set `workspace` to a folder"):
            own.run("split")
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
        assert not own.run("split")["probe"].built


def test_only_trouble_that_passes_is_worth_a_retry() -> None:
    """Prefect retries `TransientError` alone; none of the errors above may be one."""
    for error in (CheckpointError, ConfigError, DataError, StorageError):
        assert issubclass(error, LtxError)
        assert not issubclass(error, TransientError)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB. Where no one may mount, `test_a_write_that_the_kernel_refuses` stands for it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with mounted(folder, mib=3):
        yield folder


def _break_some(footage: Path) -> dict[str, QuarantineReason]:
    """Add files that cannot be used; what should be found wrong with each."""
    (footage / "dangling.mp4").symlink_to(footage / "nowhere.mp4")
    (footage / "empty.mp4").write_bytes(b"")
    (footage / "noise.mp4").write_bytes(b"these are words " * 64)
    write_clip(footage, "wordless.mp4", "sinking_sun").with_suffix(".txt").unlink()
    write_clip(footage, "binary.mp4", "drifting_clouds").with_suffix(".txt").write_bytes(b"\xff\xfe\xfd")
    expected = {
        "dangling.mp4": QuarantineReason.UNREADABLE,
        "empty.mp4": QuarantineReason.EMPTY_FILE,
        "noise.mp4": QuarantineReason.NOT_MEDIA,
        "wordless.mp4": QuarantineReason.NO_CAPTION,
        "binary.mp4": QuarantineReason.BAD_CAPTION,
    }
    if os.geteuid() != 0:  # root reads everything
        write_clip(footage, "forbidden.mp4", "waving_curtain").chmod(0)
        expected["forbidden.mp4"] = QuarantineReason.UNREADABLE
    for name in ("dangling", "empty", "noise"):
        (footage / f"{name}.txt").write_text(f"A {name} file.\n")
    return expected


class _FillsDisk:
    """Progress that fills the disk once two clips are encoded."""

    stopping = False

    def __init__(self, ballast: Path) -> None:
        self.ballast = ballast

    def advance(self, done: int, total: int, unit: str) -> None:
        if unit == "clips" and done == 2:
            fill(self.ballast, leave=0)

    def metrics(self, step: int, values: object) -> None:
        return

    def note(self, message: str) -> None:
        return

    def show(self, page: Path) -> None:
        return
