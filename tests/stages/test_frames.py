"""Features of frames: made where CREPA is on, of clips that are trained on, once for each content and encoder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from datasets_spec import Clip, Frames
from flows.plan import as_configured, plan, select
from flows.run import run_stages
from ltx_core.errors import CheckpointError, ConfigError, DataError
from ltx_core.media.clip import clip_frames
from ltx_core.store.tensor_items import ShardReader
from ltx_core.training.samples import StoreSource
from ltx_core.vision.dinov2 import load_frame_encoder
from ltx_core.vision.folder import open_encoder
from tasks import stage_named
from tests.loopback_hub import COMMIT, serving, settings
from tests.stages.bench import SCENES, Bench, Results, computed, copied, set_aside, write_clip
from tests.vision import WIDTH, write_dinov2

pytestmark = pytest.mark.whole
AFTER = ("embed_frames", "train_lora")
TRAINED = 4
"""Of five clips one is held out."""


def rows_of(results: Results) -> list[Frames]:
    return list(results["embed_frames"].manifest)


def without(bench: Bench) -> Bench:
    """The same with CREPA off."""
    return bench.but(vision=None)


def test_every_trained_clip_has_the_encoders_features_of_its_own_frames(finished: Bench, results: Results) -> None:
    clips: dict[str, Clip] = {clip.clip_id: clip for clip in results["split"].manifest}
    rows = rows_of(results)
    assert [row.clip_id for row in rows] == sorted(i for i, clip in clips.items() if clip.split == "train")
    assert {tuple(row.shape) for row in rows} == {(2, 2, 2, WIDTH)}
    assert finished.vision is not None
    encoder = load_frame_encoder(
        open_encoder(finished.vision), image_size=28, frames_at_once=16, device="cpu", dtype=torch.float32
    )
    reader, row = ShardReader(finished.workspace), rows[0]
    found = reader.read(row.shard, row.offset, row.size, row.sha256)["features"]
    pixels = torch.from_numpy(clip_frames(clips[row.clip_id]))
    torch.testing.assert_close(found, encoder.features(pixels[[0, 8]]))


def test_training_reads_them_with_the_latents(finished: Bench, results: Results) -> None:
    inputs = results["encode_latents"].manifest, results["embed_text"].manifest, finished.workspace
    source = StoreSource(*inputs, results["embed_frames"].manifest)
    for sample in source.samples:
        assert ("features" in source.load(sample.clip_id)) == (sample.split == "train")


def test_off_the_stage_is_left_out_and_training_has_another_key(bench: Bench, results: Results) -> None:
    off = without(bench)
    assert "embed_frames" not in [one.stage.name for one in plan(off.config, select(None, None, force=False))]
    made = off.run("train_lora")
    assert "embed_frames" not in made
    assert made["train_lora"].built
    assert "crepa" not in made["train_lora"].run.decided.identity["config"]
    assert "embed_frames" not in made["train_lora"].run.decided.identity["inputs"]
    assert "embed_frames" in results["train_lora"].run.decided.identity["inputs"]
    assert made["train_lora"].manifest.digest != results["train_lora"].manifest.digest
    with pytest.raises(ConfigError, match=r"stage embed_frames is off, train_lora\.crepa is not set"):
        list(plan(off.config, select("embed_frames", None, force=False)))


def test_the_plan_says_what_the_encoder_takes_of_the_card(empty: Bench) -> None:
    card = empty.set(memory__device="auto", memory__gpu_gib=0.001, embed_frames__image_size=518)

    def told(bench: Bench) -> list[str]:
        stage = stage_named("embed_frames")
        return list(stage.memory(as_configured(stage, bench.config)))

    (line,) = told(card)
    assert "takes about 0.0 GiB; it does not fit; lower embed_frames.frames_at_once" in line
    (line,) = told(card.set(memory__gpu_gib=24))
    assert line.startswith("24 GiB card")
    assert line.endswith("it fits")
    assert told(empty) == [], "nothing is planned on the CPU"


def test_an_encoder_that_nobody_reads_is_told(empty: Bench) -> None:
    with pytest.raises(ConfigError, match=r"^config: embed_frames\.image_size is set but train_lora\.crepa is not"):
        _ = without(empty).set(embed_frames__image_size=224).config


def test_what_is_new_is_embedded_and_nothing_else(own: Bench, tmp_path: Path) -> None:
    assert computed(own.run("embed_frames"))["embed_frames"] == 0
    write_clip(own.footage, "added.mp4", "sinking_sun")
    assert computed(own.run("embed_frames"))["embed_frames"] == 1
    Image.new("L", (64, 64), 255).save(own.footage / f"{SCENES[0]}_mask.png")
    masked = own.set(datasets__0__mask_dir=str(own.footage)).run("embed_frames")
    assert computed(masked) == dict.fromkeys(("probe", "split", "embed_text", "embed_frames"), 0) | {
        "encode_latents": 1
    }
    assert own.vision is not None
    moved = own.but(vision=copied(own.vision, tmp_path / "elsewhere"))
    assert computed(moved.run("embed_frames"))["embed_frames"] == 0
    larger = own.set(embed_frames__image_size=56).run("embed_frames")
    assert computed(larger)["embed_frames"] == TRAINED + 1
    other = own.but(vision=write_dinov2(tmp_path / "other", layer_norm_eps=1e-5)).run("embed_frames")
    assert computed(other)["embed_frames"] == TRAINED + 1
    assert {row.feature_key for row in rows_of(other)}.isdisjoint(row.feature_key for row in rows_of(larger))


def test_features_that_are_not_finite_are_not_kept(own: Bench, tmp_path: Path) -> None:
    broken = write_dinov2(tmp_path / "broken")
    tensors = load_file(broken / "model.safetensors")
    tensors["layernorm.weight"][:] = 3e38  # finite, and what it multiplies is not
    save_file(tensors, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=r"embed_frames quarantined 4 of 4 clips \(4 non_finite\)"):
        own.but(vision=broken).run("embed_frames")


def test_an_encoder_whose_weights_are_not_finite_is_refused(own: Bench, tmp_path: Path) -> None:
    broken = write_dinov2(tmp_path / "broken")
    tensors = load_file(broken / "model.safetensors")
    tensors["layernorm.weight"][:] = float("nan")
    save_file(tensors, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"layernorm\.weight"):
        own.but(vision=broken).run("embed_frames")


def test_clips_that_cannot_be_embedded_are_set_aside_and_not_trained_on(own: Bench) -> None:
    chosen = own.set(embed_frames__image_size=56, limits__max_quarantined_fraction=0.5)
    lost = next(row for row in chosen.run("encode_latents")["encode_latents"].manifest if row.split == "train")
    (own.footage / lost.clip_id.partition("/")[2].partition("@")[0]).unlink()
    results = [run_stages(chosen.config, select(name, None, False), chosen._perform)[0] for name in AFTER]
    assert [row.item for row in set_aside(results[0])] == [lost.clip_id]
    assert "1 clips whose frames could not be embedded are not trained on" in chosen.progress.told
    assert results[1].summary.num_in == len(SCENES) - 1


def test_what_is_no_encoder_is_refused_before_anything_is_computed(empty: Bench, tmp_path: Path) -> None:
    fresh = empty.but(workspace=tmp_path)
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        fresh.but(vision=empty.footage).run("embed_frames")
    with pytest.raises(ConfigError, match="no multiple of the encoder's patches"):
        fresh.set(embed_frames__image_size=30).run("embed_frames")
    with pytest.raises(ConfigError, match=r"crepa\.block_index is 9; the model has blocks 0 to"):
        fresh.set(train_lora__crepa={"block_index": 9}).run("train_lora")
    assert not (tmp_path / "stages").exists()


FETCH = """
import json, sys
from ltx_core.errors import LtxError
from ltx_core.progress import SILENT
from ltx_core.hub.repository import fetched_model, pending_of_model
from ltx_core.vision.folder import BELOW, FILES
from tasks.stages.embed_frames import EmbedFramesConfig, encoder_place
place = encoder_place(EmbedFramesConfig(encoder=sys.argv[1]))
pending = pending_of_model(place, FILES, BELOW)
folder = fetched_model(place, FILES, BELOW, SILENT)
print(json.dumps({
    "pending": {file.name: file.size for file in pending},
    "folder": str(folder),
    "after": len(pending_of_model(place, FILES, BELOW)),
}))
"""


def test_an_encoder_of_the_hub_is_planned_with_its_size_and_fetched_once(tmp_path: Path) -> None:
    folder = write_dinov2(tmp_path / "hub" / "facebook" / "dinov2-tiny")
    (folder / "pytorch_model.bin").write_bytes(b"not read")
    with serving(tmp_path / "hub") as endpoint:
        done = subprocess.run(
            [sys.executable, "-c", FETCH, "facebook/dinov2-tiny"],
            env=settings(endpoint, tmp_path / "home"),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    sizes = {name: (folder / name).stat().st_size for name in ("config.json", "model.safetensors")}
    assert found["pending"] == sizes
    assert found["after"] == 0
    assert Path(found["folder"]).name == COMMIT
    assert sorted(file.name for file in Path(found["folder"]).iterdir()) == sorted(sizes)
