"""References of clips: from a file beside each, or made of the clips, to latents beside those of the video."""

import shutil
from pathlib import Path

import pytest
import torch

from datasets_spec import QuarantineReason
from ltx_core.errors import ConfigError, DataError
from ltx_core.io.safetensors import read_header
from ltx_core.io.tensors import read_tensors
from ltx_core.media.probe import probe_media
from ltx_core.store.tensor_items import ShardReader
from tasks.stages.render.jobs import final_checkpoint
from tests.stages.bench import SCENES, Bench, Results, computed, set_aside, write_clip

pytestmark = pytest.mark.whole

UP_TO_LATENTS = {"probe": 0, "split": 0, "embed_text": 0}


def tensors(bench: Bench, results: Results) -> dict[str, dict[str, torch.Tensor]]:
    """By scene."""
    reader = ShardReader(bench.workspace)
    return {
        row.clip_id.removeprefix("set/").partition(".mp4")[0]: reader.read(row.shard, row.offset, row.size, row.sha256)
        for row in results["encode_latents"].manifest
    }


def test_references_from_files(own: Bench) -> None:
    """They are no footage, they become latents of their own, and another one encodes its own clip alone."""
    before = tensors(own, own.run())
    for scene in SCENES:
        shutil.copy(own.footage / f"{scene}.mp4", own.footage / f"{scene}_reference.mp4")
    shutil.copy(own.footage / f"{SCENES[1]}.mp4", own.footage / f"{SCENES[0]}_reference.mp4")
    bench = own.set(datasets__0__reference__reference_dir=str(own.footage))
    results = bench.run()
    assert results["probe"].summary.num_in == len(SCENES)
    made = tensors(bench, results)
    assert all(torch.equal(made[scene][name], before[scene][name]) for scene in SCENES for name in before[scene])
    assert torch.equal(made[SCENES[1]]["reference"], made[SCENES[1]]["video"]), "the same pixels, the same latent"
    assert torch.equal(made[SCENES[0]]["reference"], made[SCENES[1]]["video"])
    assert all(row.reference_shape == row.video_shape for row in results["encode_latents"].manifest)

    shutil.copy(own.footage / f"{SCENES[2]}.mp4", own.footage / f"{SCENES[0]}_reference.mp4")
    again = bench.but().run()
    assert computed(again)["encode_latents"] == 1
    assert torch.equal(tensors(bench, again)[SCENES[0]]["reference"], made[SCENES[2]]["video"])


def test_derived_references_are_smaller_by_their_factor(own: Bench) -> None:
    bench = own.set(datasets__0__reference={"derive": "edges", "downscale_factor": 2})
    results = bench.run()
    for row in results["encode_latents"].manifest:
        assert (row.video_shape[1:], row.reference_shape[1:]) == ([2, 2, 2], [2, 1, 1])
    first = tensors(bench, results)
    other = bench.set(datasets__0__reference={"derive": "gray", "downscale_factor": 2})
    gray = other.run()
    assert computed(gray) == UP_TO_LATENTS | {"split": 0, "encode_latents": len(SCENES)}
    assert not torch.equal(tensors(other, gray)[SCENES[0]]["reference"], first[SCENES[0]]["reference"])


def test_references_that_cannot_be_used(own: Bench) -> None:
    folder = own.footage.parent / "references"
    folder.mkdir()
    for scene in SCENES[2:]:
        shutil.copy(own.footage / f"{scene}.mp4", folder)
    write_clip(folder, f"{SCENES[1]}.mp4", SCENES[1], width=128)
    write_clip(folder, f"{SCENES[2]}_reference.mp4", SCENES[2])
    bench = own.set(datasets__0__reference__reference_dir=str(folder), limits__max_quarantined_fraction=0.9)
    found = {row.source.removesuffix(".mp4"): row for row in set_aside(bench.run("probe")["probe"])}
    assert {scene: row.reason for scene, row in found.items()} == {
        SCENES[0]: QuarantineReason.NO_REFERENCE,
        SCENES[1]: QuarantineReason.BAD_REFERENCE,
        SCENES[2]: QuarantineReason.BAD_REFERENCE,
    }
    without = bench.set(datasets__0__reference__missing_reference="without").run()
    rows = {row.clip_id.partition(".mp4")[0].removeprefix("set/"): row for row in without["encode_latents"].manifest}
    assert rows[SCENES[0]].reference_shape == []
    assert rows[SCENES[3]].reference_shape == rows[SCENES[3]].video_shape


IC_LORA = {
    "datasets__0__reference": {"derive": "edges", "downscale_factor": 2},
    "train_lora__reference_dropout": 0.5,
    "train_lora__first_frame_probability": 0.5,
    "train_lora__batch_size": 2,
    "train_lora__learning_rate": 0.1,
    "train_lora__tread_routes": [{"selection_ratio": 0.5, "start_layer_idx": 1, "end_layer_idx": -1}],
    "train_lora__rollout": {"probability": 1.0, "max_sigma_offset": 0.4, "reflexflow": True},
}
"""Trained with all that reads tokens by their number, so that these know of the appended ones."""


def test_an_ic_lora_is_trained_and_follows_control_videos(own: Bench, tmp_path: Path) -> None:
    """Of a held-out clip and of one's own, at the size that its header says, and shown beside what is rendered."""
    controls = [write_clip(tmp_path, f"{n}.mp4", scene, width=128) for n, scene in enumerate(SCENES[:2])]
    prompts = [
        {"reference": str(controls[0]), "prompt": "It moves.", "derive": "gray"},
        {"reference": str(controls[1]), "prompt": "It moves."},
    ]
    bench = own.set(**IC_LORA, prompts__references=prompts, render_validation__reference_clips=1)
    results = bench.run("render_validation")
    lora = bench.workspace / final_checkpoint(results["train_lora"].manifest).file
    header = read_header(lora).metadata
    assert header["reference_downscale_factor"] == header["reference_spatial_scale_factor"] == "2"

    rows = [row for row in results["render_validation"].manifest if row.mode == "reference"]
    assert len(rows) == 3 * len(("base", "candidate"))
    assert sum(row.clip_id is not None for row in rows) == 2
    sizes = {(row.given_file, probe_media(bench.workspace / row.control).width) for row in rows if row.control}
    assert sizes == {(str(controls[0]), 64), (str(controls[1]), 64), (None, 32)}
    latents = [
        read_tensors(bench.place.store / "renders" / f"{row.render_key}.safetensors")[0]["video"] for row in rows
    ]
    assert {tuple(one.shape[1:]) for one in latents} == {(2, 2, 4), (2, 2, 2)}
    own_file = [one for row, one in zip(rows, latents, strict=True) if row.given_file and row.variant == "candidate"]
    assert not torch.allclose(*own_file, atol=1e-4), "another control gives another render"
    gallery = (results["render_validation"].run.out / "gallery.html").read_text()
    assert gallery.count("-control.mp4") >= 3

    published = shutil.copy(lora, tmp_path / "published.safetensors")
    after = own.set(
        prompts__references=prompts[:1],
        prompts__validation=[],
        render_validation__adapters=[{"name": "edges", "adapters": [str(published)], "lora": False}],
        render_validation__render_without_adapters=False,
    ).run("render_validation")["render_validation"]
    (row,) = after.manifest
    assert (row.mode, row.variant, row.adapters) == ("reference", "base", "edges")
    assert probe_media(own.workspace / str(row.control)).width == 64

    with pytest.raises(ConfigError, match="multiples of 64"):
        bench.set(render_validation__height=96).run("render_validation")
    with pytest.raises(ConfigError, match="no dataset has a reference"):
        own.set(train_lora__reference_dropout=0.5).run("train_lora")
    late = prompts[0] | {"start_seconds": 1.0}
    with pytest.raises(DataError, match=r"lasts .* needs more"):
        bench.set(prompts__references=[late]).run("render_validation")
