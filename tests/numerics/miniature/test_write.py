"""The whole miniature in one call."""

from typing import Any

from ltx_core.miniature.corpus import DECLARED
from ltx_core.miniature.write import Miniature


def test_writes_all_three_parts_and_says_how_far_it_is(miniature: Miniature, progress_seen: Any) -> None:
    folder = miniature.footage.parent
    assert miniature.checkpoint == folder / "model" / "ltx-2-miniature.safetensors"
    assert miniature.checkpoint.is_file()
    assert (miniature.text_encoder / "config.json").is_file()
    assert all((miniature.footage / footage.name).is_file() for footage in DECLARED)
    assert progress_seen.seen[-1] == (len(DECLARED), len(DECLARED), "files")
    assert not list(folder.rglob("*partial*"))
