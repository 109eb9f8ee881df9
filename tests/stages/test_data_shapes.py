"""Several sizes and lengths in one dataset, strides, mirrored clips and weights, through the stages."""

from collections import Counter
from typing import Any

import pytest
import torch

from flows.config import load_config
from ltx_core.errors import ConfigError
from ltx_core.media.clip import clip_audio, clip_frames
from tests.stages.bench import SCENES, Bench, computed, write_clip

pytestmark = pytest.mark.whole


def test_one_footage_fills_several_buckets(own: Bench) -> None:
    write_clip(own.footage, "long.mp4", SCENES[0], num_frames=55)
    write_clip(own.footage, "wide.mp4", SCENES[1], num_frames=12, width=96)
    bench = own.set(datasets__0__video__num_frames=[9, 17], datasets__0__resolution=[32, 64, 256])
    clips = list(bench.run("split")["split"].manifest)
    names = ("long", "wide", SCENES[2])
    found = {name: Counter(clip.bucket for clip in clips if name in clip.clip_id) for name in names}
    assert found == {"long": {"64x64@17": 3}, "wide": {"64x64@9": 1}, SCENES[2]: {"64x64@9": 1}}

    strided = own.set(datasets__0__video__frame_stride=3, limits__max_quarantined_fraction=0.9).run("split")
    assert [
        (clip.num_frames, round(clip.frame_rate, 3)) for clip in strided["split"].manifest if "long" in clip.clip_id
    ] == [
        (9, 8.333),
        (9, 8.333),
    ]


def test_mirrored_clips_are_clips_of_their_own(own: Bench) -> None:
    """Held-out ones are not mirrored, nor are those whose caption speaks of sides; audio changes sides too."""
    (own.footage / f"{SCENES[4]}.txt").write_text("A bar turns to the LEFT.")
    before = {row.clip_id: row.latent_key for row in own.run()["encode_latents"].manifest}
    bench = own.set(datasets__0__flip="horizontal", datasets__0__weight=2.0, train_lora__steps=4)
    results = bench.run("train_lora")
    clips = {clip.clip_id: clip for clip in results["split"].manifest}
    twins = {name for name in clips if name.endswith("~mirrored")}
    wanted = {name for name, clip in clips.items() if clip.split == "train" and SCENES[4] not in name} - twins
    assert twins == {f"{name}~mirrored" for name in wanted}
    assert any("1 clips are not mirrored" in note for note in bench.progress.told)
    assert computed(results)["encode_latents"] == len(twins), "the others are known"
    after = {row.clip_id: row.latent_key for row in results["encode_latents"].manifest}
    assert after.keys() == clips.keys()
    assert {name: after[name] for name in before} == before
    name = min(wanted)
    frames, turned = (torch.from_numpy(clip_frames(clips[one])) for one in (name, f"{name}~mirrored"))
    assert torch.equal(turned.flip(2), frames)
    heard, exchanged = clip_audio(clips[name]), clip_audio(clips[f"{name}~mirrored"])
    assert heard is not None
    assert exchanged is not None
    assert (heard[::-1] == exchanged).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": 2.0, "repeats": 3}, "give one of them"),
        ({"video": {"frame_stride": 2, "frame_rate": 24}}, "give one of them"),
        ({"video": {"num_frames": [9, 17], "bucket_strategy": "resolution_frames"}}, "several numbers"),
        ({"resolution": [512, 0.5]}, "counts pixels"),
    ],
)
def test_what_has_no_effect_is_refused(empty: Bench, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(empty.values, {f"datasets.0.{name}": value for name, value in options.items()})


def test_all_datasets_have_a_weight_or_none(empty: Bench) -> None:
    other = {"id": "other", "instance_data_dir": str(empty.footage)}
    with pytest.raises(ConfigError, match="datasets other have no weight"):
        load_config(empty.values | {"datasets": [empty.values["datasets"][0] | {"weight": 1.0}, other]}, {})
