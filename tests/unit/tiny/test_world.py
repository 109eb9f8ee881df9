"""The small world's clips are what their captions say, as detectors that have learnt nothing see and hear them."""

import random

import pytest
import torch

from ltx_core.errors import ConfigError
from ltx_core.tiny.world import (
    AUDIO,
    COLOURS,
    FRAMES,
    HEIGHT,
    NUM_SAMPLES,
    SHAPES,
    UNSEEN,
    WIDTH,
    Spec,
    all_specs,
    caption,
    codes,
    draw,
    play,
    scene,
)
from tests import detectors

SPECS = random.Random(5).sample(all_specs(list(SHAPES), list(AUDIO), list(COLOURS)), 40)


@pytest.fixture(scope="module")
def clips() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    named = codes(SPECS)
    scenes = scene(named, generator)
    return draw(scenes)[0], play(named, scenes, generator)


@pytest.mark.whole
def test_sizes(clips: tuple[torch.Tensor, torch.Tensor]) -> None:
    pixels, audio = clips
    assert pixels.shape == (len(SPECS), 3, FRAMES, HEIGHT, WIDTH)
    assert audio.shape == (len(SPECS), 2, NUM_SAMPLES)
    assert float(pixels.abs().max()) <= 1.0
    assert float(audio.abs().max()) <= 1.0


@pytest.mark.whole
def test_everything_real_is_detected(clips: tuple[torch.Tensor, torch.Tensor]) -> None:
    pixels, audio = clips
    found = detectors.find_objects(pixels)
    assert detectors.colours(found) == [spec.objects[0][0] for spec in SPECS]
    assert detectors.shapes(found) == [spec.objects[0][1] for spec in SPECS]
    assert detectors.motions(found) == [spec.motion for spec in SPECS]
    assert detectors.backgrounds(found) == [spec.background for spec in SPECS]
    assert detectors.audio_kinds(audio) == [spec.audio for spec in SPECS]


@pytest.mark.whole
def test_pitch_is_the_word_s(clips: tuple[torch.Tensor, torch.Tensor]) -> None:
    tones = [i for i, spec in enumerate(SPECS) if AUDIO[spec.audio].hertz]
    wanted = torch.tensor([float(AUDIO[SPECS[i].audio].hertz) for i in tones])
    cents = 1200 * (detectors.pitch(clips[1][tones]) / wanted).log2().abs()
    assert float(cents.max()) < 10


@pytest.mark.whole
def test_sound_goes_where_the_object_goes(clips: tuple[torch.Tensor, torch.Tensor]) -> None:
    moving = [i for i, s in enumerate(SPECS) if s.motion in ("left", "right") and s.audio not in ("silence", "clicks")]
    ends = detectors.sides(clips[1][moving])
    assert [bool(end > start) for start, end in ends] == [SPECS[i].motion == "right" for i in moving]


def test_noise_is_nothing() -> None:
    generator = torch.Generator().manual_seed(1)
    noise = torch.rand(8, 3, FRAMES, HEIGHT, WIDTH, generator=generator) * 2 - 1
    found = detectors.find_objects(noise)
    assert set(detectors.shapes(found)) == {None}
    assert set(detectors.colours(found)) <= {None}


def test_captions_name_every_part_and_differ_by_phrasing() -> None:
    specs = all_specs(list(SHAPES), list(AUDIO), list(COLOURS))
    for phrasing in range(3):
        assert len({caption(spec, phrasing) for spec in specs}) == len(specs)
    assert caption(Spec((("red", "star"),), "left", "dark", "bell")) == (
        "A red star moves to the left over a dark background while a bell rings."
    )
    assert all(word in " ".join(caption(spec) for spec in specs) for word in UNSEEN)


def test_the_same_seed_gives_the_same_clips() -> None:
    def made() -> torch.Tensor:
        generator = torch.Generator().manual_seed(9)
        return draw(scene(codes(SPECS[:4]), generator))[0]

    assert torch.equal(made(), made())


@pytest.mark.parametrize(
    ("objects", "motion"), [((("red", "circle"),), "spinning"), ((("red", "star"), ("blue", "square")), "growing")]
)
def test_what_cannot_be_seen_is_refused(objects: tuple[tuple[str, str], ...], motion: str) -> None:
    with pytest.raises(ConfigError):
        Spec(objects, motion, "dark", "hiss")


def test_two_objects_lie_apart_and_move_together() -> None:
    spec = Spec((("red", "square"), ("blue", "circle")), "left", "grey", "low")
    assert (
        caption(spec) == "A red square and a blue circle move to the left over a grey background while a low tone hums."
    )
    generator = torch.Generator().manual_seed(2)
    scenes = scene(codes([spec] * 8), generator)
    apart = (scenes.centre[:, 1] - scenes.centre[:, 0]).norm(dim=-1)
    assert torch.allclose(apart, torch.full_like(apart, 44.0), atol=1e-4)
    assert detectors.motions(detectors.find_objects(draw(scenes)[0])) == ["left"] * 8
