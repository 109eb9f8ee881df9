"""Recordings that lost a picture between the encoder and the file; decoders show something instead and say nothing."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from datasets_spec import QuarantineReason
from ltx_core.media.errors import MediaError
from ltx_core.media.probe import probe_media

Pixels = npt.NDArray[np.uint8]
Number = tuple[Callable[[int], Pixels], Callable[[Pixels], int]]
WriteVideo = Callable[..., Path]


def without(path: Path, lost: Callable[[int, av.Packet], bool]) -> Path:
    """The file again without some of its packets, all others at their times."""
    out = path.with_name(f"lossy{path.suffix}")
    with av.open(str(path)) as source, av.open(str(out), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for n, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
            if not lost(n, packet):
                packet.stream = stream
                container.mux(packet)
    return out


@pytest.mark.parametrize(
    ("suffix", "after_key"), [("mkv", 0), ("mp4", 0), ("ts", 0), ("flv", 0), ("mp4", 1), ("ts", 1)]
)
def test_a_lost_picture_is_noticed(write_video: WriteVideo, number: Number, suffix: str, after_key: int) -> None:
    """A key picture, or the one after it, which those that follow refer to."""
    path = write_video(f"a.{suffix}", [number[0](n) for n in range(90)])
    with av.open(str(path)) as container:
        stored = [packet for packet in container.demux(video=0) if packet.size]
    key = next(n for n, packet in enumerate(stored) if packet.is_keyframe and n > 10)
    at = (stored[key].pts - stored[0].pts) * stored[key].time_base
    with pytest.raises(MediaError, match=r"lacks a frame at about") as caught:
        probe_media(without(path, lambda n, _: n == key + after_key))
    assert caught.value.reason is QuarantineReason.DECODE_ERROR
    assert float(str(caught.value).split("about ")[1].split()[0]) == pytest.approx(float(at), abs=0.3)


def test_pictures_that_the_camera_left_out(write_video: WriteVideo, number: Number) -> None:
    stamps = [(n + 3 * (n > 20) + 9 * (n > 44)) / 25 for n in range(90)]
    path = write_video("a.mp4", [number[0](n) for n in range(90)], stamps=stamps)
    assert probe_media(path).num_frames == 90
