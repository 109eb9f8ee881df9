import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_spec import VideoSpec
from ltx_core.errors import ConfigError
from ltx_core.media.buckets import bucket_size, cover_size, fit_size, is_too_small, least_wasteful
from ltx_core.media.windows import Lengths, clip_lengths, scene_windows, whole_frames

EDGES = st.integers(16, 8192)
LENGTHS = st.builds(
    lambda min_frames, **options: clip_lengths(VideoSpec.model_construct(min_frames=min_frames, **options)),
    num_frames=st.integers(1, 257),
    min_frames=st.none() | st.integers(1, 257),
    bucket_strategy=st.sampled_from(["aspect_ratio", "resolution_frames"]),
    frame_interval=st.integers(1, 40),
)


@pytest.mark.parametrize(
    ("source", "resolution", "kind", "bucket"),
    [
        ((1920, 1080), 512, "pixel_area", (672, 384)),
        ((1080, 1920), 512, "pixel_area", (384, 672)),
        ((640, 640), 512, "pixel_area", (512, 512)),
        ((1920, 1080), 480, "pixel", (864, 480)),
        ((1920, 1080), 0.25, "area", (672, 384)),
        ((10_000, 100), 64, "pixel_area", (640, 32)),
    ],
)
def test_known_buckets(source: tuple[int, int], resolution: float, kind: str, bucket: tuple[int, int]) -> None:
    assert bucket_size(*source, resolution, kind) == bucket


def test_unknown_kind() -> None:
    with pytest.raises(ConfigError, match="resolution_type"):
        bucket_size(10, 10, 512, "diagonal")


@given(EDGES, EDGES, st.floats(64, 2048), st.sampled_from(["pixel", "pixel_area"]))
def test_buckets_fit_the_model(width: int, height: int, resolution: float, kind: str) -> None:
    bucket = bucket_size(width, height, resolution, kind)
    assert all(edge % 32 == 0 and edge >= 32 for edge in bucket)
    assert bucket_size(height, width, resolution, kind) == bucket[::-1]
    assert (bucket[0] >= bucket[1]) or width <= height
    if kind == "pixel":
        assert abs(min(bucket) - resolution) <= 16


@given(EDGES, EDGES, st.integers(1, 64), st.integers(1, 64))
def test_covering_covers_and_no_more(width: int, height: int, columns: int, rows: int) -> None:
    bucket = (columns * 32, rows * 32)
    cover = cover_size(width, height, bucket)
    assert cover[0] >= bucket[0]
    assert cover[1] >= bucket[1]
    assert cover[0] == bucket[0] or cover[1] == bucket[1]


@given(EDGES, EDGES)
def test_fitting_never_enlarges(width: int, height: int) -> None:
    fitted = fit_size(width, height, 256)
    assert 1 <= max(fitted) <= 256
    assert fitted[0] <= width
    assert fitted[1] <= height


def test_too_small() -> None:
    assert is_too_small(100, 200, (256, 512))
    assert not is_too_small(128, 256, (256, 512))


@given(LENGTHS, st.integers(0, 50), st.integers(0, 1200))
def test_windows_lie_in_their_scene(lengths: Lengths, start: int, extent: int) -> None:
    windows = scene_windows(start, start + extent, lengths)
    position = start
    for window in windows:
        assert window.start == position
        assert window.num_frames % 8 == 1
        assert lengths.floored(lengths.shortest) <= window.num_frames <= lengths.longest
        position += window.num_frames
    assert position <= start + extent
    assert start + extent - position < lengths.needed
    if not lengths.keep_own:
        assert {window.num_frames for window in windows} <= {lengths.floored(lengths.longest)}


@given(st.integers(1, 500), st.sampled_from([24000 / 1001, 24.0, 25.0, 30000 / 1001, 60.0]))
def test_whole_frames_survive_rounding_to_milliseconds(frames: int, rate: float) -> None:
    assert whole_frames(frames / rate, rate) == frames
    assert whole_frames(math.floor(frames / rate * 1000) / 1000, rate) == frames


def test_users_lengths_are_floored() -> None:
    def lengths(num_frames: int, min_frames: int | None, bucket_strategy: str, frame_interval: int) -> Lengths:
        options = {"num_frames": num_frames, "min_frames": min_frames, "frame_interval": frame_interval}
        return clip_lengths(VideoSpec.model_validate(options | {"bucket_strategy": bucket_strategy}))

    assert lengths(125, 125, "resolution_frames", 8).needed == 121
    assert lengths(125, None, "aspect_ratio", 8).needed == 121
    assert lengths(121, 20, "resolution_frames", 8).needed == 17
    assert lengths(121, 1, "resolution_frames", 25).floored(120) == 97


@pytest.mark.parametrize(
    ("extent", "clips"),
    [(16, []), (17, [17]), (64, [49]), (82, [65, 17]), (130, [121]), (190, [121, 65]), (138, [121, 17])],
)
def test_each_clip_is_as_long_as_what_is_left_of_its_scene(extent: int, clips: list[int]) -> None:
    lengths = clip_lengths(VideoSpec(num_frames=(17, 49, 65, 125)))
    windows = scene_windows(10, 10 + extent, lengths)
    assert [window.num_frames for window in windows] == clips
    assert [window.start for window in windows] == [10 + sum(clips[:n]) for n in range(len(clips))]
    assert bool(clips) == (extent >= lengths.needed)


def test_a_clip_is_as_large_as_its_file_allows() -> None:
    sizes = (256, 512, 768)
    found = {edge: least_wasteful(edge, edge, sizes, "pixel_area")[0] for edge in (100, 300, 500, 512, 760, 2000)}
    assert found == {100: 256, 300: 256, 500: 512, 512: 512, 760: 768, 2000: 768}
