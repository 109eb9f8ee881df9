"""What a model that writes captions is shown, asked and taken to have said."""

import pytest

from ltx_core.vision.captioning import talks, text_of


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (" A dog runs.\n", "A dog runs."),
        ("<think>A dog? Yes.</think>\n\nA dog runs.", "A dog runs."),
        ("A dog? Yes.\n</think>A dog runs.", "A dog runs."),
        ("<think>A dog? Or a", ""),
        ("A dog\0runs", ""),
        ("Sure, here is a caption: A dog runs.", "Sure, here is a caption: A dog runs."),
        (" \n", ""),
    ],
)
def test_only_thoughts_are_left_out_of_an_answer(answer: str, text: str) -> None:
    assert text_of(answer) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sure, here is a caption: A dog runs.", True),
        ("Here's the description you asked for.", True),
        ('**Caption:** "A dog runs."', True),
        ('{"caption": "A dog runs."}', True),
        ("I'm sorry, I cannot see the video.", True),
        ("A dog runs, sure of itself.", False),
        ("Surely the dog runs.", False),
        ("Okapis graze.", False),
    ],
)
def test_words_about_the_task_are_seen(text: str, expected: bool) -> None:
    assert talks(text) is expected
