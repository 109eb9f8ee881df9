"""A captioning model's view of a clip: its frames at equal distances, scaled down, and its audio where it is heard."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datasets_spec import Clip
from ltx_core.media.clip import clip_frames
from ltx_core.vision.captioning import ABOUT_AUDIO, ABOUT_IMAGE, ABOUT_VIDEO, clip_view, default_prompt, view_key

Pixels = npt.NDArray[np.uint8]


def test_frames_from_the_first_to_the_last_and_what_is_heard(
    clip: Callable[..., Clip],
    write_video: Callable[..., Path],
    number: tuple[Callable[[int], Pixels], Callable[[Pixels], int]],
) -> None:
    write, read = number
    sound = np.sin(np.arange(48_000) / 20, dtype=np.float32)[None].repeat(2, axis=0) * 0.2
    path = write_video("a.mp4", [write(n) for n in range(12)], rate=25, sound=sound)
    height, width = write(0).shape[:2]
    one = clip(path=str(path), width=width // 32 * 32, height=height // 32 * 32, audio="other")
    whole = clip_view(one, 3, 4096, with_audio=True)
    assert [read(frame) for frame in whole.frames] == [0, 4, 8]
    assert (whole.frames == clip_frames(one)[[0, 4, 8]]).all()
    assert whole.seconds == 9 / 25
    assert whole.audio is not None
    assert whole.audio.shape == (round(16_000 * 9 / 25),)
    assert 0.05 < np.abs(whole.audio).mean() < 0.3
    small = clip_view(one, 20, 32, with_audio=False)
    assert small.frames.shape[0] == 9
    assert max(small.frames.shape[1:3]) == 32
    assert small.audio is None
    assert clip_view(one.model_copy(update={"audio": "silent"}), 1, 32, with_audio=True).audio is None
    (first,) = clip_view(one, 1, 4096, with_audio=False).frames
    assert read(first) == 0
    assert default_prompt(whole).startswith(ABOUT_VIDEO + ABOUT_AUDIO)
    assert ABOUT_AUDIO not in default_prompt(small)
    assert default_prompt(small._replace(frames=small.frames[:1])).startswith(ABOUT_IMAGE)


def test_what_is_not_shown_is_not_in_the_key(clip: Callable[..., Clip]) -> None:
    heard = clip(audio="voiced", sound_key="b" * 32)
    masked = heard.model_copy(update={"mask_key": "c" * 32, "reference": "edges", "caption": "another"})
    assert view_key(heard, True) == view_key(masked, True)
    assert view_key(heard, True) != view_key(heard.model_copy(update={"sound_key": "d" * 32}), True)
    assert view_key(heard, False) == view_key(heard.model_copy(update={"sound_key": "d" * 32}), False)
    assert view_key(heard, True) != view_key(heard.model_copy(update={"is_mirrored": True}), True)
