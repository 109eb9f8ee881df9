"""Footage without sound, with silence, or with both beside sound: what is encoded, what is trained, what is said."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from datasets_spec import Latent
from flows.config import load_config
from flows.plan import plan, select
from ltx_core.adapters.lora_layout import stream_of
from ltx_core.errors import ConfigError
from ltx_core.io.tensors import read_tensors
from ltx_core.tiny.corpus import Audio, Footage, aac
from ltx_core.tiny.footage import write_footage
from ltx_core.training.samples import StoreSource
from tests.stages.bench import SCENES, Bench, Results, computed, write_clip
from tests.stages.test_sound_dir import write_audio

pytestmark = pytest.mark.whole


def write(folder: Path, scene: str, audio: Audio | None) -> None:
    """In the place of the bench's file of that scene."""
    (folder / f"{scene}.mp4").unlink()
    declared = Footage(
        name=f"{scene}.mp4",
        scene=scene,
        width=64,
        height=64,
        frame_rate=Fraction(25),
        num_frames=12,
        caption=f"A {scene.replace('_', ' ')}.",
        audio=audio,
    )
    write_footage(folder, [declared])


def rows(results: Results) -> dict[str, Latent]:
    return {row.clip_id.partition(".")[0].partition("/")[2]: row for row in results["encode_latents"].manifest}


def streams(bench: Bench, results: Results) -> set[str]:
    (final,) = (row for row in results["train_lora"].manifest if row.name == "final")
    names = (name.removeprefix("diffusion_model.") for name in read_tensors(bench.workspace / final.file)[0])
    return {stream_of(name.rpartition(".lora_")[0]) for name in names}


def test_no_sound_at_all_trains_the_picture_alone_and_says_so(own: Bench) -> None:
    bench = own.set(datasets__0__audio={"auto_split": False}, train_lora__targets="audio+video")
    results = bench.run("encode_latents")
    assert {(row.audio_tokens, row.has_audio_loss) for row in rows(results).values()} == {(0, False)}
    planned = {one.stage.name: one.memory for one in plan(bench.config, select(None, None, force=False))}
    results = bench.run("train_lora")
    (note,) = (note for note in bench.progress.told if "no clip that is trained on has audio" in note)
    assert note in planned["train_lora"]
    assert streams(bench, results) == {"video"}


def test_one_clip_with_sound_trains_the_layers_of_sound(own: Bench) -> None:
    for scene in SCENES[1:]:
        write(own.footage, scene, None)
    bench = own.set(datasets__0__eval_fraction=0.0, train_lora__steps=5, train_lora__batch_size=3)
    results = bench.run("train_lora")
    assert {name: row.audio_tokens for name, row in rows(results).items()} == {
        scene: 9 if scene == SCENES[0] else 0 for scene in SCENES
    }
    assert not [note for note in bench.progress.told if "no clip that is trained on has audio" in note]
    assert streams(bench, results) == {"video", "audio", "cross"}


def test_silence_is_trained_on_if_asked(own: Bench) -> None:
    write(own.footage, SCENES[0], aac("silence"))
    write(own.footage, SCENES[1], None)
    own.run("encode_latents")
    ignored = rows(own.but().run())
    asked = own.set(datasets__0__audio={"silence": "train"})
    results = asked.run()
    assert computed(results)["encode_latents"] == 0, "what is learnt from it says nothing of its latents"
    trained = rows(results)
    assert (ignored[SCENES[0]].has_audio_loss, trained[SCENES[0]].has_audio_loss) == (False, True)
    assert (ignored[SCENES[1]].has_audio_loss, trained[SCENES[1]].has_audio_loss) == (False, False)
    assert all(trained[scene].has_audio_loss for scene in SCENES[2:])
    assert {name: row.sha256 for name, row in ignored.items()} == {name: row.sha256 for name, row in trained.items()}


def test_sound_that_ends_early_is_learnt_as_far_as_it_goes(own: Bench, tmp_path: Path) -> None:
    """0.2 of a clip's 0.36 seconds; and a file of two clips, the second of which lies beyond its sound."""
    for scene, seconds in zip(SCENES, (0.2, 0.3, 0.4, 0.4, 0.4), strict=True):
        write_audio(tmp_path / "sounds" / f"{scene}.wav", seconds=seconds)
    (own.footage / f"{SCENES[1]}.mp4").unlink()
    write_clip(own.footage, f"{SCENES[1]}.mp4", SCENES[1], num_frames=24)
    bench = own.set(datasets__0__audio={"audio_dir": str(tmp_path / "sounds")}, datasets__0__eval_fraction=0.0)
    results = bench.run("train_lora")
    by_clip = {row.clip_id: row for row in results["encode_latents"].manifest}
    cut = by_clip[f"set/{SCENES[0]}.mp4@000000000"]
    assert (cut.audio_tokens, cut.absent_sound, cut.has_audio_loss) == (9, [5, 6, 7, 8], True)
    beyond = [row for name, row in by_clip.items() if SCENES[1] in name and row.audio_tokens == 0]
    assert len(beyond) == 1, "the file's second clip lies beyond its sound, which is not silence"
    assert not beyond[0].has_audio_loss
    assert [row.absent_sound for name, row in by_clip.items() if SCENES[2] in name] == [[]]
    source = StoreSource(by_clip.values(), [], bench.workspace)
    (info,) = (sample for sample in source.samples if sample.clip_id == cut.clip_id)
    assert info.absent_sound == (5, 6, 7, 8)
    assert streams(bench, results) == {"video", "audio", "cross"}


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        ({"silence": "train", "auto_split": False}, "silence is 'train' and has no effect without auto_split"),
        ({"silence": "learn"}, "silence"),
    ],
)
def test_what_cannot_be_learnt_is_refused(empty: Bench, audio: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(empty.values, {"datasets.0.audio": audio})
