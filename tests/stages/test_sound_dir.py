"""`audio.audio_dir`: a video's sound cut from a file of its own, on the video's clock, and redone alone."""

import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from datasets_spec import Clip, DatasetSpec, Latent, QuarantineReason
from flows.config import load_config
from ltx_core.errors import ConfigError
from ltx_core.media.clip import clip_audio
from ltx_core.store.tensor_items import ShardReader
from tasks.stages.split import SPLIT_FIELDS, _settings
from tests.stages.bench import SCENES, Bench, Results, computed, set_aside

pytestmark = pytest.mark.whole

RATE = 16_000


def write_audio(path: Path, *, tone: float = 440.0, seconds: float = 1.0, begins: float = 0.0) -> Path:
    """A tone from `begins` on, mono."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(seconds * RATE)) / RATE
    samples = np.where(times >= begins, 0.5 * np.sin(2 * np.pi * tone * times), 0.0)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A folder with a tone for each video of the bench."""
    for number, scene in enumerate(SCENES):
        write_audio(tmp_path / "sounds" / f"{scene}.wav", tone=300.0 + 100 * number)
    return tmp_path / "sounds"


def with_sounds(bench: Bench, sounds: Path, **audio: Any) -> Bench:
    return bench.set(datasets__0__audio={"audio_dir": str(sounds), **audio})


def samples(bench: Bench, results: Results) -> dict[str, dict[str, torch.Tensor]]:
    reader = ShardReader(bench.workspace)
    rows: list[Latent] = list(results["encode_latents"].manifest)
    return {row.clip_id: reader.read(row.shard, row.offset, row.size, row.sha256) for row in rows}


def test_other_audio_redoes_that_audio_alone(own: Bench, sounds: Path) -> None:
    bench = with_sounds(own, sounds)
    first = bench.run()
    before = samples(bench, first)
    assert computed(first) == {"probe": 0, "split": 5, "embed_text": 0, "encode_latents": 5}
    assert {clip.audio for clip in first["split"].manifest} <= {"voiced", "other"}

    changed = f"set/{SCENES[1]}.mp4"
    pictures = {path: path.stat().st_mtime_ns for path in (bench.workspace / "pool" / "split").rglob("*.json")}
    write_audio(sounds / f"{SCENES[1]}.wav", tone=900.0)
    second = bench.but().run()
    assert computed(second) == {"probe": 0, "split": 1, "embed_text": 0, "encode_latents": 1}
    assert pictures == {path: path.stat().st_mtime_ns for path in pictures}, "no picture is looked at again"
    made = bench.but()
    after = samples(made, second)
    for clip, tensors in after.items():
        assert torch.equal(tensors["video"], before[clip]["video"])
        assert torch.equal(tensors["audio"], before[clip]["audio"]) != clip.startswith(changed)


def test_the_picture_of_a_known_clip_is_not_encoded_again(own: Bench, sounds: Path, tmp_path: Path) -> None:
    """What is kept of it is, to the bit, what another workspace encodes anew."""
    bench = with_sounds(own, sounds)
    bench.run()
    write_audio(sounds / f"{SCENES[0]}.wav", tone=700.0)
    again = bench.but()
    results = again.run()
    assert [note for note in again.progress.told if "1 clips have stored video and other audio or another mask" in note]
    assert not [note for note in again.progress.told if note.startswith("video VAE")]
    elsewhere = bench.but(workspace=tmp_path / "elsewhere")
    anew = samples(elsewhere, elsewhere.run())
    for clip, tensors in samples(again, results).items():
        assert all(torch.equal(tensors[name], anew[clip][name]) for name in ("video", "audio"))


def test_folders_that_moved_are_read_where_they_are_now(own: Bench, sounds: Path) -> None:
    """Nothing is cut again; what was encoded stays, and what is encoded anew is found."""
    masks = sounds.parent / "masks"
    masks.mkdir()
    Image.new("L", (64, 64), 255).save(masks / f"{SCENES[0]}.png")
    bench = with_sounds(own, sounds).set(datasets__0__mask_dir=str(masks))
    bench.run()
    there = sounds.parent / "moved"
    there.mkdir()
    moved = with_sounds(own, sounds.rename(there / "sounds")).set(
        datasets__0__mask_dir=str(masks.rename(there / "masks"))
    )
    results = moved.run()
    assert computed(results) == {"probe": 0, "split": 0, "embed_text": 0, "encode_latents": 0}
    clips: list[Clip] = list(results["split"].manifest)
    assert {Path(str(clip.sound_path)).parent for clip in clips} == {there / "sounds"}
    assert {Path(clip.mask_path).parent for clip in clips if clip.mask_path} == {there / "masks"}
    anew = moved.set(encode_latents__dtype="bf16").run()
    assert computed(anew) == {"probe": 0, "split": 0, "embed_text": 0, "encode_latents": len(SCENES)}
    assert not set_aside(anew["encode_latents"])


def test_media_without_files_beside_have_the_content_of_before(own: Bench) -> None:
    (row, *_) = own.run("probe")["probe"].manifest
    assert row.content().keys().isdisjoint({"sound_path", "mask_path"})
    assert row.model_copy(update={"sound_path": "a"}).content()["sound_path"] == "a"


def test_sound_is_cut_on_the_clock_of_the_video(own: Bench, sounds: Path) -> None:
    """A tone that begins 0.2 s after the video's first frame begins there in the clip; what is missing is silence."""
    write_audio(sounds / f"{SCENES[2]}.wav", begins=0.2, seconds=0.3)
    clips: list[Clip] = list(with_sounds(own, sounds).run("split")["split"].manifest)
    (clip,) = [clip for clip in clips if SCENES[2] in clip.clip_id]
    sound = clip_audio(clip)
    assert sound is not None
    loud = np.flatnonzero(np.abs(sound[0]) > 0.1)
    assert sound.shape == (2, round(9 / 25 * RATE))
    assert (loud[0] / RATE, loud[-1] / RATE) == pytest.approx((0.2, 0.3), abs=0.005)


def test_a_video_without_its_sound_is_set_aside_or_trained_without(own: Bench, sounds: Path) -> None:
    (sounds / f"{SCENES[3]}.wav").unlink()
    bench = with_sounds(own, sounds).set(limits__max_quarantined_fraction=0.5)
    results = bench.run()
    (aside,) = set_aside(results["probe"])
    assert (aside.source, aside.reason) == (f"{SCENES[3]}.mp4", QuarantineReason.NO_AUDIO)
    assert f"such as {SCENES[3]}.wav" in aside.detail
    without = with_sounds(own, sounds, missing_audio="without").run()
    (row,) = [row for row in without["encode_latents"].manifest if SCENES[3] in row.clip_id]
    assert (row.audio_tokens, row.has_audio_loss) == (0, False), "its own sound is not taken instead"
    assert len(list(without["encode_latents"].manifest)) == 5


def test_sounds_that_cannot_be_used(own: Bench, sounds: Path) -> None:
    write_audio(sounds / f"{SCENES[0]}.flac")
    (sounds / f"{SCENES[1]}.wav").write_bytes(b"RIFFnothing")
    (sounds / f"{SCENES[2]}.wav").write_bytes(b"")
    bench = with_sounds(own, sounds).set(limits__max_quarantined_fraction=0.9)
    aside = {row.source.removesuffix(".mp4"): row for row in set_aside(bench.run("probe")["probe"])}
    assert set(aside) == set(SCENES[:3])
    assert f"{SCENES[0]}.flac, {SCENES[0]}.wav" in aside[SCENES[0]].detail
    assert aside[SCENES[2]].reason is QuarantineReason.EMPTY_FILE


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        ({"audio_dir": "s", "auto_split": False}, "auto_split is off, and audio_dir s would not be read"),
        ({"missing_audio": "without"}, "has no effect without audio_dir"),
    ],
)
def test_options_that_do_nothing_are_refused(empty: Bench, audio: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(empty.values, {"datasets.0.audio": audio})


def test_datasets_without_such_options_are_known_as_before() -> None:
    spec = DatasetSpec.model_validate({"id": "a", "instance_data_dir": "x"})
    kept = json.dumps(_settings(spec, SPLIT_FIELDS), separators=(",", ":"), ensure_ascii=False)
    assert kept.endswith('"audio":{"auto_split":true,"channels":2}}')
    assert "minimum_image_size" not in kept
    larger = spec.model_copy(update={"minimum_image_size": 64})
    assert _settings(larger, SPLIT_FIELDS)["minimum_image_size"] == 64
