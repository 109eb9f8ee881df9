from collections.abc import Callable
from typing import Any

import pytest

from datasets_spec import Clip, QuarantineReason
from ltx_core.media.clip import clip_id, keyed
from ltx_core.media.quality import assign_splits, mark_duplicates, weighted_repeats

MakeClip = Callable[..., Clip]


def test_everything_that_fixes_the_pixels_is_in_the_key(clip: MakeClip) -> None:
    changes: dict[str, Any] = {
        "media_key": "b" * 32,
        "start_seconds": 1.24,
        "frame_rate": 24.0,
        "phase_seconds": 0.02,
        "num_frames": 17,
        "width": 32,
        "height": 96,
        "audio_channels": 1,
        "sound_key": "c" * 32,
        "mask_key": "d" * 32,
        "is_mirrored": True,
        "ground": "white",
    }
    keys = {keyed(clip())} | {keyed(clip(**{name: value})) for name, value in changes.items()} | {keyed(clip(), "left")}
    assert len(keys) == 2 + len(changes)
    assert keyed(clip()) == keyed(clip(caption="another", split="eval"), "center")


def test_weights_become_repeats_of_the_shortest_epoch_that_is_near_enough() -> None:
    assert weighted_repeats({"films": 40, "stills": 1000}, {"films": 1, "stills": 1}) == {"films": 25, "stills": 1}
    assert weighted_repeats({"a": 10, "b": 10}, {"a": 3, "b": 2}) == {"a": 3, "b": 2}, "1 and 2 would be a third off"
    assert weighted_repeats({"a": 7, "b": 0}, {"a": 0.2, "b": 5}) == {"a": 1}
    parts = weighted_repeats({"a": 37, "b": 11}, {"a": 0.7, "b": 0.3})
    assert 37 * parts["a"] / (37 * parts["a"] + 11 * parts["b"]) == pytest.approx(0.7, abs=0.02)


def test_ids_sort_by_time() -> None:
    ids = [clip_id("set/a.mp4", seconds) for seconds in (0.0, 0.92, 9.5, 10.0, 3600.0)]
    assert ids == sorted(ids)
    assert ids[1] == "set/a.mp4@000000920"


def test_repeats_of_other_files_go(clip: MakeClip) -> None:
    first = clip(clip_id="set/a.mp4@000000000", media_id="set/a.mp4")
    again = clip(clip_id="set/b.mp4@000000000", media_id="set/b.mp4", media_key="b" * 32, sharpness=0.0102)
    kept, aside = mark_duplicates([again, first])
    assert kept == [first]
    assert [(row.item, row.source, row.reason) for row in aside] == [
        (again.clip_id, "b.mp4", QuarantineReason.DUPLICATE)
    ]
    assert first.clip_id in aside[0].detail


def test_what_is_no_repeat(clip: MakeClip) -> None:
    first = clip()
    others = [
        clip(clip_id="set/b.mp4@000000000"),  # equal bytes
        clip(clip_id="set/a.mp4@000000360"),  # same file
        clip(clip_id="set/c.mp4@000000000", media_key="c" * 32, perceptual_hash="0" * 16),
        clip(clip_id="set/d.mp4@000000000", media_key="d" * 32, sharpness=0.02),
        clip(clip_id="set/e.mp4@000000000", media_key="e" * 32, motion=0.2),
        clip(clip_id="set/f.mp4@000000000", media_key="f" * 32, loudness_db=-40.0),
        clip(clip_id="set/g.mp4@000000000", media_key="0" * 32, bucket="64x64@17"),
    ]
    kept, aside = mark_duplicates([first, *others])
    assert not aside
    assert len(kept) == 8


def test_the_side_is_by_file(clip: MakeClip) -> None:
    keys = [f"{n:032x}" for n in range(200)]
    clips = [clip(clip_id=f"set/{key}@{n}", media_key=key) for key in keys for n in range(2)]
    done = assign_splits(clips, 0.2)
    assert [row.clip_id for row in done] == [row.clip_id for row in clips]
    held_out = {row.media_key for row in done if row.split == "eval"}
    assert not held_out & {row.media_key for row in done if row.split == "train"}
    assert 20 <= len(held_out) <= 60
    fewer = assign_splits(clips[:200], 0.2)
    assert {row.media_key for row in fewer if row.split == "eval"} == held_out & set(keys[:100])


def test_neither_none_nor_all(clip: MakeClip) -> None:
    files = [clip(clip_id=f"set/{n}", media_key=f"{n:032x}") for n in range(6)]
    for count, fraction, wanted in (
        (6, 1e-9, 1),
        (4, 1e-9, 1),
        (3, 1e-9, 0),
        (6, 0.0, 0),
        (6, 1 - 1e-9, 5),
        (1, 0.9999, 0),
    ):
        held_out = [row for row in assign_splits(files[:count], fraction) if row.split == "eval"]
        assert len(held_out) == wanted, (count, fraction)
    assert assign_splits([], 0.5) == []
    assert {row.split for row in assign_splits(files, 1.0)} == {"eval"}, "all that there is"
