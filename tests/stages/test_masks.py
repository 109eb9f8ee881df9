"""`mask_dir`: where clips are trained on, from a file beside each to the weights of the loss."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets_spec import QuarantineReason
from ltx_core.io.tensors import read_tensors
from ltx_core.store.tensor_items import ShardReader
from ltx_core.training.batch import collate
from ltx_core.training.config import TrainSettings
from ltx_core.training.draws import eval_draw
from ltx_core.training.samples import StoreSource
from tasks.stages.render.jobs import final_checkpoint
from tests.stages.bench import SCENES, Bench, Results, computed, set_aside, write_clip

pytestmark = pytest.mark.whole


def write_mask(path: Path, *, white: slice) -> Path:
    """64x64 pixels, these columns white."""
    pixels = np.zeros((64, 64), dtype=np.uint8)
    pixels[:, white] = 255
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def tensors(bench: Bench, results: Results) -> dict[str, dict[str, torch.Tensor]]:
    """By scene."""
    reader = ShardReader(bench.workspace)
    rows = list(results["encode_latents"].manifest)
    return {
        row.clip_id.removeprefix("set/").partition(".mp4")[0]: reader.read(row.shard, row.offset, row.size, row.sha256)
        for row in rows
    }


def test_masks_beside_the_footage(own: Bench) -> None:
    """They are no footage, they become weights, and another one leaves the pictures alone."""
    before = own.run()
    mask = write_mask(own.footage / f"{SCENES[0]}_mask.png", white=slice(0, 32))
    write_clip(own.footage, f"{SCENES[1]}_mask.mp4", SCENES[1])  # a grey one that moves
    bench = own.set(datasets__0__mask_dir=str(own.footage))
    results = bench.run()
    assert results["probe"].summary.num_in == 5
    assert computed(results) == {"probe": 0, "split": 0, "embed_text": 0, "encode_latents": 2}
    made, plain = tensors(bench, results), tensors(own, before)
    assert made[SCENES[0]]["mask"].tolist() == [[[1.0, 0.0]] * 2] * 2
    assert 0 < made[SCENES[1]]["mask"].mean() < 1
    assert "mask" not in made[SCENES[2]]
    assert all(torch.equal(made[scene][name], plain[scene][name]) for scene in SCENES for name in plain[scene])
    assert any("other audio or another mask: only these are encoded" in note for note in bench.progress.told)

    source = StoreSource(results["encode_latents"].manifest, results["embed_text"].manifest, bench.workspace)
    samples = sorted(source.samples, key=lambda sample: sample.clip_id)[:1]
    batch = collate(samples, source, lambda *_: eval_draw(samples[0], 0.5, TrainSettings()), audio_channels=None)
    assert batch.video.weight.tolist() == [[1.0, 0.0] * 4]
    assert batch.video.timesteps.tolist() == [0.5], "what is not trained on is noised like all else"

    write_mask(mask, white=slice(32, 64))
    again = bench.but().run()
    assert computed(again)["encode_latents"] == 1
    assert tensors(bench, again)[SCENES[0]]["mask"].tolist() == [[[0.0, 1.0]] * 2] * 2


@pytest.mark.extra
def test_a_run_with_masks_trains_another_lora(own: Bench) -> None:
    plain = own.run("train_lora")
    for scene in SCENES:
        write_mask(own.footage.parent / "masks" / f"{scene}.png", white=slice(0, 32))
    masked = own.set(datasets__0__mask_dir=str(own.footage.parent / "masks")).run("train_lora")
    files = [own.workspace / final_checkpoint(made["train_lora"].manifest).file for made in (plain, masked)]
    before, after = (read_tensors(file)[0] for file in files)
    assert before.keys() == after.keys()
    assert any(not torch.equal(tensor, after[name]) for name, tensor in before.items()), "the weights, not a header"


def test_masks_that_cannot_be_used(own: Bench) -> None:
    folder = own.footage.parent / "masks"
    write_mask(folder / f"{SCENES[0]}.png", white=slice(0, 0))
    write_mask(folder / f"{SCENES[1]}.png", white=slice(0, 64))
    write_mask(folder / f"{SCENES[1]}_mask.png", white=slice(0, 64))
    Image.new("L", (64, 32), 255).save(folder / f"{SCENES[2]}.png")
    results = own.set(datasets__0__mask_dir=str(folder), limits__max_quarantined_fraction=0.9).run()
    probed = {row.source: row for row in set_aside(results["probe"])}
    assert set(probed) == {f"{SCENES[1]}.mp4", f"{SCENES[2]}.mp4"}
    assert "several masks" in probed[f"{SCENES[1]}.mp4"].detail
    (black,) = set_aside(results["encode_latents"])
    assert black.reason is QuarantineReason.BAD_MASK
    assert SCENES[0] in black.item


def test_pictures_cut_off_set_aside_their_own_clips_alone(own: Bench) -> None:
    """That a PNG is whole shows when it is probed; a JPEG only where it is decoded, with known pictures or new ones."""
    folder = own.footage.parent / "masks"
    folder.mkdir()
    bench = own.set(datasets__0__mask_dir=str(folder), limits__max_quarantined_fraction=0.9)
    for scene, suffix in zip(SCENES[:2], ("png", "jpg"), strict=True):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
        path = folder / f"{scene}.{suffix}"
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for known in (bench, bench.set(encode_latents__dtype="bf16")):
        results = known.run()
        for stage, scene in zip(("probe", "encode_latents"), SCENES[:2], strict=True):
            (torn,) = set_aside(results[stage])
            assert torn.reason is QuarantineReason.BAD_MASK
            assert scene in torn.item
            assert "damaged image" in torn.detail
        assert results["encode_latents"].summary.num_out == len(SCENES) - 2
