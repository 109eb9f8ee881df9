"""The item rule: after any change, exactly the items that are new are computed, whatever stage keys changed."""

import os
import shutil
from pathlib import Path

import pytest

from datasets_spec import Latent
from ltx_core.errors import Stopped
from tests.stages.bench import NUM_OTHER_TEXTS, SCENES, Bench, Notes, Results, computed, write_clip

pytestmark = pytest.mark.whole

NOTHING = {"probe": 0, "split": 0, "embed_text": 0, "encode_latents": 0}
VAE_PREFIX = "vae."


def test_first_run_computes_each_item_once(results: Results, finished: Bench, tmp_path: Path) -> None:
    first = finished.but(workspace=tmp_path / "new").run()
    clips = len(SCENES)
    assert computed(first) == {
        "probe": clips,
        "split": clips,
        "embed_text": clips + NUM_OTHER_TEXTS,
        "encode_latents": clips,
    }
    assert first["encode_latents"].manifest.digest == results["encode_latents"].manifest.digest


def test_moved_footage_computes_nothing(own: Bench) -> None:
    assert computed(own.run()) == NOTHING


@pytest.mark.extra
def test_added_edited_and_replaced_files_cost_what_is_new_of_them(own: Bench) -> None:
    """The design's example in small: two files added, one caption edited, one file replaced in place."""
    own.run()
    write_clip(own.footage, "added.mp4", "sinking_sun")
    write_clip(own.footage, "folder/added.mp4", "drifting_clouds")
    (own.footage / "turning_bar.txt").write_text("A bar, turning, is what this is.\n")
    caption = (own.footage / "rolling_ball.txt").read_bytes()
    write_clip(own.footage, "rolling_ball.mp4", "waving_curtain")
    (own.footage / "rolling_ball.txt").write_bytes(caption)

    again = own.run()
    assert computed(again) == {"probe": 3, "split": 3, "embed_text": 3, "encode_latents": 3}
    clips = len(SCENES) + 2
    assert again["encode_latents"].summary.num_out == clips
    assert again["embed_text"].summary.num_out == clips + NUM_OTHER_TEXTS


def test_replaced_file_is_trained_on_as_it_is_now(own: Bench) -> None:
    before = _latent(own.run(), "rolling_ball")
    write_clip(own.footage, "rolling_ball.mp4", "waving_curtain")
    after = _latent(own.run(), "rolling_ball")
    assert before.clip_id == after.clip_id
    assert before.sha256 != after.sha256


def test_edited_caption_reaches_the_rows_that_training_reads(own: Bench) -> None:
    own.run()
    (own.footage / "rolling_ball.txt").write_text("Quite another caption.\n")
    again = own.run()
    assert computed(again) == NOTHING | {"embed_text": 1}
    assert _latent(again, "rolling_ball").caption == "Quite another caption."
    assert "Quite another caption." in {row.text for row in again["embed_text"].manifest}


def test_files_of_equal_bytes_share_latents(own: Bench) -> None:
    shutil.copyfile(own.footage / "rolling_ball.mp4", own.footage / "twin.mp4")
    (own.footage / "twin.txt").write_text("The same ball.\n")
    again = own.run()
    assert computed(again) == NOTHING | {"embed_text": 1}
    one, other = _latent(again, "rolling_ball"), _latent(again, "twin")
    assert (one.latent_key, one.shard, one.offset) == (other.latent_key, other.shard, other.offset)
    assert one.caption != other.caption


def test_new_files_of_equal_bytes_are_encoded_once(own: Bench) -> None:
    write_clip(own.footage, "one.mp4", "sinking_sun")
    for suffix in (".mp4", ".txt"):
        shutil.copyfile(own.footage / f"one{suffix}", own.footage / f"two{suffix}")
    again = own.run()
    assert computed(again)["encode_latents"] == 1
    assert computed(again)["embed_text"] == 1
    assert again["encode_latents"].summary.num_out == len(SCENES) + 2


def test_one_caption_used_twice_is_embedded_once(own: Bench) -> None:
    for name in ("rolling_ball", "turning_bar"):
        (own.footage / f"{name}.txt").write_text("Something moves.\n")
    again = own.run()
    assert computed(again) == NOTHING | {"embed_text": 1}
    assert again["embed_text"].summary.num_out == len(SCENES) - 1 + NUM_OTHER_TEXTS


def test_white_space_round_a_caption_embeds_nothing(own: Bench) -> None:
    caption = own.footage / "rolling_ball.txt"
    caption.write_text(f"  {caption.read_text().rstrip()}\n\n")
    assert computed(own.run()) == NOTHING


def test_renamed_file_computes_nothing(own: Bench) -> None:
    own.run()
    for suffix in (".mp4", ".txt"):
        (own.footage / f"rolling_ball{suffix}").rename(own.footage / f"a new name{suffix}")
    again = own.run()
    assert computed(again) == NOTHING
    assert _latent(again, "a new name").clip_id.startswith("set/a new name.mp4@")


def test_removed_file_computes_nothing_and_is_gone(own: Bench) -> None:
    own.run()
    (own.footage / "rolling_ball.mp4").unlink()
    again = own.run()
    assert computed(again) == NOTHING
    assert again["encode_latents"].summary.num_out == len(SCENES) - 1


def test_touched_files_are_not_even_read_as_changed(own: Bench, tmp_path: Path) -> None:
    own = own.but(checkpoint=Path(shutil.copy(own.checkpoint, tmp_path)))
    own.run()
    for path in [*own.footage.iterdir(), own.checkpoint]:
        os.utime(path, ns=(1, 1))
    assert not any(result.built for result in own.run().values())


@pytest.mark.parametrize(
    "stage", [pytest.param(name, marks=pytest.mark.extra if name == "encode_latents" else ()) for name in NOTHING]
)
def test_a_stopped_stage_keeps_what_it_finished(stage: str, finished: Bench, tmp_path: Path) -> None:
    bench = finished.but(workspace=tmp_path / "new")
    earlier = list(NOTHING)[: list(NOTHING).index(stage)]
    if earlier:
        bench.run(earlier[-1])
    with pytest.raises(Stopped, match=r"what was finished is kept, run again to go on"):
        bench.but(progress=Notes(stop_after=3)).run(stage)  # in the middle of a shard of two
    summary = bench.run(stage)[stage].summary
    assert summary.reused == 3
    assert summary.computed == summary.num_out - 3


def test_a_forced_stage_that_was_stopped_is_not_taken_for_finished(bench: Bench) -> None:
    with pytest.raises(Stopped):
        bench.but(progress=Notes(stop_after=1)).run(force="encode_latents")
    again = bench.run()
    assert again["encode_latents"].built
    assert again["encode_latents"].run.decided.why == "begun, not finished"


def test_another_text_encoder_redoes_all_texts_and_no_latents(own: Bench, tmp_path: Path) -> None:
    from ltx_core.tiny.gemma import write_gemma

    own.run()
    again = own.but(text_encoder=write_gemma(tmp_path / "gemma", 1)).run()
    assert computed(again) == NOTHING | {"embed_text": len(SCENES) + NUM_OTHER_TEXTS}
    assert not again["encode_latents"].built


def test_another_vae_redoes_all_latents_and_no_texts(own: Bench, tmp_path: Path) -> None:
    own.run()
    again = own.but(checkpoint=_other_weights(own.checkpoint, tmp_path, VAE_PREFIX)).run()
    assert computed(again) == NOTHING | {"encode_latents": len(SCENES)}
    assert not again["embed_text"].built


@pytest.mark.extra
def test_another_transformer_redoes_neither_but_trains_anew(bench: Bench, tmp_path: Path) -> None:
    other = _other_weights(bench.checkpoint, tmp_path, "model.diffusion_model.transformer_blocks.")
    again = bench.but(checkpoint=other).run("train_lora")
    assert [name for name, result in again.items() if result.built] == ["train_lora"]


def test_same_weights_under_another_name_redo_nothing(bench: Bench, tmp_path: Path) -> None:
    moved = bench.but(
        checkpoint=Path(shutil.copy(bench.checkpoint, tmp_path / "renamed.safetensors")),
        text_encoder=Path(shutil.copytree(bench.text_encoder, tmp_path / "moved")),
    )
    assert not any(result.built for result in moved.run("render_validation").values())


def test_another_vae_option_redoes_latents_and_shard_limits_do_not(bench: Bench) -> None:
    assert computed(bench.set(encode_latents__shard_max_samples=1).run()) == NOTHING
    assert computed(bench.set(encode_latents__dtype="bf16").run()) == NOTHING | {"encode_latents": len(SCENES)}


class TestDamagedShard:
    def test_it_is_reported_and_only_its_items_are_made_anew(self, own: Bench) -> None:
        shard, lost = _shard_with(own.run(), own, "rolling_ball")
        _flip_byte(shard)
        write_clip(own.footage, "added.mp4", "sinking_sun")
        again = own.run()
        assert computed(again)["encode_latents"] == len(lost) + 1
        assert [note for note in own.progress.told if shard.name in note and "is damaged" in note]

    def test_a_run_that_needs_it_makes_it_anew_by_itself(self, bench: Bench, results: Results) -> None:
        shard, lost = _shard_with(results, bench, "rolling_ball")
        _flip_byte(shard)
        again = bench.set(train_lora__steps=4).run("train_lora")
        assert not shard.exists()
        assert computed(again)["encode_latents"] == len(lost)
        assert again["train_lora"].built

    @pytest.mark.parametrize("stage", ["embed_text", "encode_latents"])
    def test_a_shard_deleted_after_the_stage_finished_is_missed(
        self, stage: str, bench: Bench, results: Results
    ) -> None:
        first = next(iter(results[stage].manifest))
        lost = [row for row in results[stage].manifest if row.shard == first.shard]
        (bench.workspace / first.shard).unlink()
        decision = bench.due(results[stage].run.stage, results).decided
        assert not decision.reusable
        assert decision.why == f"{first.shard} is gone"

        again = bench.run("train_lora")
        assert computed(again) == NOTHING | {stage: len(lost), "embed_frames": 0, "train_lora": 0}
        assert again[stage].manifest.digest == results[stage].manifest.digest
        assert not again["train_lora"].built

    def test_shards_hold_as_many_clips_as_asked(self, results: Results) -> None:
        """Without which the tests above would lose everything, and `only its items` would say nothing."""
        assert len({row.shard for row in results["encode_latents"].manifest}) == 3

    def test_a_shard_without_index_is_as_if_it_never_was(self, own: Bench) -> None:
        """Killed between renaming the shard and writing its index."""
        shard, lost = _shard_with(own.run(), own, "rolling_ball")
        shard.with_suffix(".parquet").unlink()
        write_clip(own.footage, "added.mp4", "sinking_sun")
        assert computed(own.run())["encode_latents"] == len(lost) + 1


def _latent(results: Results, stem: str) -> Latent:
    rows: list[Latent] = list(results["encode_latents"].manifest)
    (row,) = [row for row in rows if row.clip_id.startswith(f"set/{stem}.mp4@")]
    return row


def _shard_with(results: Results, bench: Bench, stem: str) -> tuple[Path, list[Latent]]:
    """The shard that holds the latents of a file, and all rows that lie in it."""
    shard = _latent(results, stem).shard
    return bench.workspace / shard, [row for row in results["encode_latents"].manifest if row.shard == shard]


def _flip_byte(shard: Path) -> None:
    """Change one byte of every sample's data, as a failing disk might; the size stays."""
    data = bytearray(shard.read_bytes())
    for start in range(1500, len(data) - 1024, 1500):
        data[start] ^= 0xFF
    shard.write_bytes(data)


def _other_weights(checkpoint: Path, folder: Path, prefix: str) -> Path:
    """The same checkpoint with other numbers in the tensors of one component."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    with safe_open(checkpoint, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(checkpoint)
    chosen = [name for name in tensors if name.startswith(prefix) and name.endswith("weight")]
    assert chosen
    for name in chosen:
        tensors[name] = tensors[name] * 0.75
    path = folder / "other.safetensors"
    save_file(tensors, path, metadata=metadata)
    return path


def test_another_prompt_embeds_one_text_and_renders_it(bench: Bench) -> None:
    asked = bench.set(prompts__validation=["A ball rolls.", "A bar turns."]).run("render_validation")
    assert computed(asked) == NOTHING | {"embed_text": 1, "embed_frames": 0, "train_lora": 0, "render_validation": 2}
    assert not asked["encode_latents"].built
