"""Buckets that a plan lists before anything is cut."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from datasets_spec import DatasetSpec, Media
from ltx_core.media.forecast import forecast, forecast_lines
from ltx_core.media.quality import QualityThresholds
from ltx_core.media.split import split_media


def test_a_forecast_is_what_uncut_scenes_give(
    tmp_path: Path,
    write_video: Callable[..., Path],
    media_of: Callable[[Path], Media],
    spec: Callable[..., DatasetSpec],
    plain: Callable[..., object],
) -> None:
    Image.new("RGB", (96, 64), (90, 90, 90)).save(tmp_path / "a.png")
    paths = [write_video(f"{count}.mp4", [plain(50)] * count) for count in (20, 30, 58)]
    files = [media_of(path) for path in [*paths, tmp_path / "a.png"]]
    wanted = spec(video={"num_frames": [49, 25]})
    found = forecast(files, wanted)
    clips = [clip for media in files for clip in split_media(media, wanted, QualityThresholds(2.0, 2.0))[0]]
    assert sorted(found.clips.elements()) == sorted(clip.bucket for clip in clips)
    assert sum(found.clips.values()) == 3
    assert found.used == pytest.approx((49 + 25) / 25)
    assert found.total == pytest.approx(108 / 25, abs=0.1)
    lines = list(forecast_lines(files, wanted))
    assert "1 of 64x64@49" in lines[0]
    assert "they use 69% of 4 s" in lines[0]
    assert lines[1:] == ["dataset set: video.num_frames: [49, 25, 17] would use 84% of it"]
