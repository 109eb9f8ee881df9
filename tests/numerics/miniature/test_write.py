"""The whole miniature in one call."""

from typing import Any

from ltx_core.media.audio import decode_audio
from ltx_core.media.image import read_image
from ltx_core.media.measure import loudness_db
from ltx_core.tiny.corpus import DECLARED
from ltx_core.tiny.model import Miniature


def test_writes_all_three_parts_and_says_how_far_it_is(miniature: Miniature, progress_seen: Any) -> None:
    folder = miniature.footage.parent
    assert miniature.checkpoint == folder / "model" / "ltx-2-miniature.safetensors"
    assert miniature.checkpoint.is_file()
    assert (miniature.text_encoder / "config.json").is_file()
    assert all((miniature.footage / footage.name).is_file() for footage in DECLARED)
    assert miniature.image == folder / "given" / "face.png"
    assert read_image(miniature.image, (64, 64)).std() > 10
    assert miniature.audio is not None
    sound = decode_audio(miniature.audio, 0.0, 2.0)
    assert sound is not None
    assert loudness_db(sound) > -40
    assert progress_seen[-1] == (len(DECLARED), len(DECLARED), "files")
    assert not list(folder.rglob("*partial*"))
