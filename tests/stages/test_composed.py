"""Several conditions at once: keyframes and references with fewer frames in the data, in training and in renders."""

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from ltx_core.errors import ConfigError, DataError
from ltx_core.io.safetensors import read_header
from ltx_core.media.probe import probe_media
from ltx_core.sampling.decoding import load_latents
from ltx_core.training.samples import StoreSource
from tasks.stages.render.jobs import final_checkpoint
from tasks.stages.samples.kept import kept_samples
from tests.stages.bench import SCENES, Bench, write_clip

pytestmark = pytest.mark.whole

CONDITIONS: dict[str, Any] = {
    "datasets__0__video": {"num_frames": 17},
    "datasets__0__reference": {"derive": "edges", "frame_factor": 2},
    "datasets__0__keyframes": [0.5, 1.0],
    "train_lora__keyframe_probability": 1.0,
    "train_lora__reference_strength": 0.9,
    "train_lora__suffix_probability": 0.5,
    "train_lora__suffix_latent_frames": 1,
    "train_lora__first_frame_probability": 0.5,
    "train_lora__outpaint_probability": 0.5,
    "train_lora__outpaint_region": [0.5, 0, 1, 1],
    "train_lora__audio_inpaint_probability": 0.5,
    "train_lora__audio_inpaint_seconds": 0.2,
    "train_lora__batch_size": 2,
    "train_lora__rollout": {"probability": 1.0, "max_sigma_offset": 0.4},
    "train_lora__samples": {
        "every_steps": 2,
        "num_steps": 2,
        "video_cfg": 1,
        "audio_cfg": 1,
        "allow_broken_base": True,
    },
    "prompts__validation": [],
}
COMPOSED: list[dict[str, Any]] = [
    {"conditions": ["first_frame", {"kind": "suffix", "latent_frames": 1}]},
    {"conditions": ["reference", "keyframe", {"kind": "first_frame", "strength": 0.5}]},
    {"conditions": ["audio_reference", {"kind": "audio_suffix", "seconds": 0.2}]},
    {"conditions": [{"kind": "outpaint", "region": [0.5, 0, 1, 1]}, {"kind": "audio_prefix", "seconds": 0.2}]},
]


NAMES = (
    "first_frame + suffix (1 latent frames)",
    "reference + keyframe + first_frame (strength 0.5)",
    "audio_reference + audio_suffix (5 latent frames)",
    "outpaint (region 0.5,0,1,1) + audio_prefix (5 latent frames)",
)


def write_voice(path: Path, frequency: int) -> None:
    """A second of a tone."""
    times = np.arange(16_000) / 16_000
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, len(times), "NONE", ""))
        file.writeframes((8000 * np.sin(2 * np.pi * frequency * times)).astype("<i2").tobytes())


@pytest.fixture
def long(own: Bench) -> Bench:
    """With footage of 20 frames a file, which hold one clip of 17."""
    for scene in SCENES:
        write_clip(own.footage, f"{scene}.mp4", scene, num_frames=20)
    voices = own.footage.parent / "voices"
    voices.mkdir()
    for number, scene in enumerate(SCENES):
        write_voice(voices / f"{scene}.wav", frequency=200 + 50 * number)
    return own.set(**CONDITIONS, datasets__0__audio={"reference_dir": str(voices)})


def test_conditions_are_trained_and_rendered_together(long: Bench) -> None:
    asked = long.set(render_validation__composed=COMPOSED, render_validation__render_base=False)
    results = asked.run("render_validation")
    latents = list(results["encode_latents"].manifest)
    assert {(tuple(row.video_shape[1:]), tuple(row.reference_shape[1:])) for row in latents} == {((3, 2, 2), (2, 2, 2))}
    assert {tuple(row.keyframes) for row in latents} == {(8, 16)}
    lora = asked.workspace / final_checkpoint(results["train_lora"].manifest).file
    header = read_header(lora).metadata
    assert (header["reference_downscale_factor"], header["reference_temporal_scale_factor"]) == ("1", "2")

    samples = kept_samples(results["train_lora"].run.out)
    assert [sample.step for sample in samples] == [0, 2], "following the reference of the held-out clip"
    (held,) = (row for row in latents if row.split == "eval")
    assert {sample.values["prompt"] for sample in samples} == {held.caption}
    assert samples[0].values["digest"] != samples[1].values["digest"]

    rows = {row.conditions: row for row in results["render_validation"].manifest}
    assert rows.keys() == set(NAMES)
    source = StoreSource(latents, [], asked.workspace)
    both, followed, voiced, outpainted = (
        (load_latents((asked.workspace / row.file).with_suffix(".safetensors")), source.load(str(row.clip_id)), row)
        for row in (rows[name] for name in NAMES)
    )
    made, given, _ = both
    assert torch.equal(made.video[:, [0, 2]], given["video"].float()[:, [0, 2]])
    assert not torch.allclose(made.video[:, 1], given["video"].float()[:, 1], atol=1e-2)
    made, given, _ = voiced
    assert given["audio_reference"].shape == given["audio"].shape == made.audio.shape
    assert not torch.allclose(given["audio_reference"], given["audio"], atol=1e-2)
    assert torch.equal(made.audio[-5:], given["audio"][-5:])
    made, given, _ = outpainted
    assert torch.equal(made.video[..., 1], given["video"].float()[..., 1])
    assert torch.equal(made.audio[:5], given["audio"][:5])
    assert not torch.allclose(made.audio[5:], given["audio"][5:], atol=1e-2)
    assert not torch.allclose(made.video[..., 0], given["video"].float()[..., 0], atol=1e-2)
    made, given, row = followed
    assert made.video.shape == given["video"].shape, "neither reference nor keyframes are of the sample"
    assert not torch.allclose(made.video[:, 0], given["video"].float()[:, 0], atol=1e-2), "kept in part"
    assert row.control is not None
    assert probe_media(asked.workspace / row.control).num_frames == 17, "each frame until the next one"

    with pytest.raises(ConfigError, match=r"there are 1; lower clips"):
        asked.set(render_validation__composed=[COMPOSED[0] | {"clips": 9}]).run("render_validation")


def test_files_are_kept_in_parts_together(bench: Bench, tmp_path: Path) -> None:
    """Both ends, a frame between them and the end of the audio: as renders of each alone are given them."""
    video = write_clip(tmp_path, "end.mp4", SCENES[0], num_frames=20)
    paths = [tmp_path / "first.png", tmp_path / "middle.png"]
    for number, path in enumerate(paths):
        Image.fromarray(np.full((64, 64, 3), 60 + 90 * number, dtype=np.uint8)).save(path)
    conditions: list[dict[str, Any]] = [
        {"kind": "first_frame", "file": str(paths[0])},
        {"kind": "keyframe", "file": str(paths[1]), "at_seconds": 0.36, "strength": 0.9},
        {"kind": "suffix", "file": str(video), "latent_frames": 1, "start_seconds": 0.08},
        {"kind": "audio_suffix", "file": str(video), "seconds": 0.2},
    ]
    prompts = [{"prompt": "It moves.", "conditions": conditions, "seed": 1}]
    size = {"render_validation__num_frames": 17, "render_validation__render_base": False, "prompts__validation": []}
    asked = bench.set(prompts__composed=prompts, **size)
    (row,) = asked.run("render_validation")["render_validation"].manifest
    assert (row.mode, row.given_file, row.seed) == ("composed", str(paths[0]), 1)
    made = load_latents((asked.workspace / row.file).with_suffix(".safetensors"))
    alone = bench.set(prompts__images=[{"image": str(paths[0]), "prompt": "It moves.", "seed": 1}], **size)
    (other,) = alone.run("render_validation")["render_validation"].manifest
    plain = load_latents((alone.workspace / other.file).with_suffix(".safetensors"))
    assert torch.equal(made.video[:, 0], plain.video[:, 0]), "the image"
    assert not torch.allclose(made.video[:, 1:], plain.video[:, 1:], atol=1e-2)
    changed = [*conditions[:2], conditions[2] | {"start_seconds": 0.0}, conditions[3]]
    again = bench.set(prompts__composed=[prompts[0] | {"conditions": changed}], **size)
    (third,) = again.run("render_validation")["render_validation"].manifest
    moved = load_latents((again.workspace / third.file).with_suffix(".safetensors"))
    assert torch.equal(moved.audio[-5:], made.audio[-5:]), "the end of the audio"
    assert not torch.equal(moved.audio[:-5], made.audio[:-5])
    assert not torch.allclose(moved.video[:, 2], made.video[:, 2], atol=1e-3)
    late = [conditions[2] | {"start_seconds": 0.8}]
    with pytest.raises(DataError, match=r"needs more; give a longer file to prompts\.composed"):
        bench.set(prompts__composed=[prompts[0] | {"conditions": late}], **size).run("render_validation")
    deaf = [conditions[3] | {"start_seconds": 9}]
    with pytest.raises(DataError, match=r"and what is read of it starts at 9\.00 s; .* prompts\.composed"):
        bench.set(prompts__composed=[prompts[0] | {"conditions": deaf}], **size).run("render_validation")
    heard = {"audio": str(video), "prompt": "It sounds.", "start_seconds": 9}
    with pytest.raises(DataError, match=r"and what is read of it starts at 9\.00 s; .* prompts\.audio"):
        bench.set(prompts__audio=[heard]).run("render_validation")
    for nothing_left in (
        {"kind": "prefix", "file": str(video), "latent_frames": 3},
        {"kind": "audio_prefix", "file": str(video), "seconds": 3},
    ):
        with pytest.raises(ConfigError, match="leaves none to generate"):
            bench.set(prompts__composed=[prompts[0] | {"conditions": [nothing_left]}], **size).run("render_validation")
    beyond = [conditions[1] | {"at_seconds": 9}]
    with pytest.raises(DataError, match=r"is at 9\.00 s, and the render lasts 0\.68 s"):
        bench.set(prompts__composed=[prompts[0] | {"conditions": beyond}], **size).run("render_validation")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"prompts__composed": [{"prompt": "It.", "conditions": [{"kind": "keyframe", "file": "a.png"}]}]},
            "a keyframe has no at_seconds",
        ),
        ({"datasets__0__reference__frame_factor": 3}, r"must be 24k\+1"),
        ({"render_validation__composed": [{"conditions": ["first_frame", "prefix"]}]}, "exclude each other"),
        (
            {"render_validation__composed": [{"conditions": [{"kind": "outpaint", "region": [0, 0, 1, 1]}]}]},
            "leaves nothing to generate",
        ),
        ({"render_validation__composed": [{"conditions": ["suffix", "suffix"]}]}, "name each kind once"),
        ({"render_validation__composed": [{"conditions": [{"kind": "suffix", "seconds": 2}]}]}, "no effect on suffix"),
    ],
)
def test_what_cannot_go_together_is_refused(options: dict[str, Any], message: str, own: Bench) -> None:
    with pytest.raises((ConfigError, ValidationError), match=message):
        own.set(**CONDITIONS, **options).run("encode_latents")


def test_conditions_that_no_dataset_has_are_refused(own: Bench, tmp_path: Path) -> None:
    for kind in ("keyframe", "reference", "audio_reference"):
        with pytest.raises(ConfigError, match="of held-out clips and no dataset has any; set datasets"):
            own.set(render_validation__composed=[{"conditions": [kind]}]).run("render_validation")
    for name in ("keyframe_probability", "inpaint_probability"):
        with pytest.raises(ConfigError, match=f"train_lora.{name} is 1.0 and no dataset has"):
            own.set(**{f"train_lora__{name}": 1.0}).run("train_lora")
