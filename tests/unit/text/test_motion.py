"""A prompt that asks for stillness is told from one that asks for motion, and from one that says neither."""

import pytest

from ltx_core.text.motion import says_motion, says_still


@pytest.mark.parametrize(
    "prompt",
    [
        "A pink square stays still over a white background while something clicks.",
        "A pink triangle stays still, a bell rings",
        "A grey rock stays still on the beach.",
        "A static shot of a house at night",
        "Static camera. A lamp on a table.",
        "A motionless cat, low hum",
        "A still photograph of a lighthouse",
        "A still life with apples",
        "Nothing moves in the empty room.",
        "The car is not moving; noise hisses",
        "The statue doesn't move",
        "A woman sits perfectly still in the grass",
        "He stands very still.",
        "The water is still.",
        "A frozen lake with no motion at all",
        "A red circle rests motionless while a low tone hums",
        "A STATIONARY TRAIN",
        "A green star remains in place over a dark background while noise hisses",
    ],
)
def test_stillness(prompt: str) -> None:
    assert says_still(prompt)


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "A dog in a park",
        "A man is still talking to the crowd",
        "The camera remains static as a man walks through the door",
        "Static camera. Rain falls on a window.",
        "A static shot of a woman walking along a beach",
        "A mountain stands still while clouds drift past",
        "A pink square moves up over a white background while a bell rings.",
        "Moving still faster, a train crosses the plain",
        "Statically charged hair",
    ],
)
def test_no_stillness(prompt: str) -> None:
    assert not says_still(prompt)


def test_words_of_motion() -> None:
    assert says_motion("A dog runs.")
    assert not says_motion("A dog in a park")
