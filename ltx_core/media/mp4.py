"""Write frames and audio as an MP4 that plays everywhere and is the same bytes for the same input; and clips of the
footage as small ones, for pages that people look at.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.codec.context import Flags
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from PIL import Image

from datasets_spec.rows import Clip
from ltx_core.errors import ShapeError
from ltx_core.io.atomic import atomic_path
from ltx_core.media.clip import clip_audio, clip_frames
from ltx_core.shapes import AUDIO_RATE

MUXER_OPTIONS = {
    "movflags": "+faststart",  # the index first, so that a player starts before it has the whole file
    "fflags": "+bitexact",  # no version, no creation time
}
QUALITY = "16"
"""x264's constant rate factor: artefacts are those of the model, not of the codec."""
RENDER_THREADS = 4
"""Of x264, for renders: as many on every machine, because each number gives bytes of its own."""
AAC_BIT_RATE = 192_000
AAC_FRAME = 1024
"""Samples an AAC frame."""


def write_mp4(
    path: Path,
    frames: npt.NDArray[np.uint8],
    frame_rate: float,
    waveform: npt.NDArray[np.float32] | None,
    audio_rate: int,
    *,
    threads: int = 1,
) -> None:
    """Write uint8 [F, H, W, 3] RGB and float32 [2, N] audio, or None, as H.264 yuv420p and AAC, both from time 0.

    Audio past the last frame's end is cut. `audio_rate` is a rate AAC has: 16000, 24000, 48000 among them. Appears
    whole or not at all. x264 gives other bytes with another number of `threads`, and the same ones with the same.

    Raises:
        ShapeError: frames or audio are not of these shapes, or an edge is odd, which yuv420p cannot hold.
        StorageError: the disk is full or cannot be written.
    """
    _check_shapes(frames, waveform)
    rate = Fraction(frame_rate).limit_denominator(1001)
    with atomic_path(path) as partial, av.open(str(partial), "w", options=MUXER_OPTIONS) as container:
        video = _video_stream(container, frames, rate, threads)
        audio = None if waveform is None else _audio_stream(container, audio_rate)
        pieces = (
            iter(())
            if waveform is None
            else _audio_frames(waveform[:, : round(len(frames) / rate * audio_rate)], audio_rate)
        )
        converter = VideoReformatter()
        for n, pixels in enumerate(frames):
            for packet in video.encode(_video_frame(pixels, n, rate, converter)):
                container.mux(packet)
            _mux_until(container, audio, pieces, (n + 1) / rate)
        for stream in (video, audio):
            for packet in stream.encode(None) if stream is not None else ():
                container.mux(packet)


def _check_shapes(frames: npt.NDArray[np.uint8], waveform: npt.NDArray[np.float32] | None) -> None:
    is_rgb = frames.ndim == 4 and frames.shape[-1] == 3 and frames.dtype == np.uint8
    if not is_rgb or 0 in frames.shape or frames.shape[1] % 2 or frames.shape[2] % 2:
        raise ShapeError(
            f"frames are {frames.dtype} {list(frames.shape)}; uint8 [F, H, W, 3] with even H and W is wanted"
        )
    if waveform is not None and (waveform.ndim != 2 or waveform.shape[0] != 2):
        raise ShapeError(f"audio is {list(waveform.shape)}; [2, N] is wanted. Duplicate a single channel.")


def _video_stream(container: Any, frames: npt.NDArray[np.uint8], rate: Fraction, threads: int) -> Any:
    stream = container.add_stream("libx264", rate=rate, options={"crf": QUALITY, "preset": "medium", "mbtree": "0"})
    stream.height, stream.width = frames.shape[1:3]
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.thread_count = threads
    context.flags |= Flags.bitexact
    context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
    context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    return stream


def _audio_stream(container: Any, audio_rate: int) -> Any:
    stream = container.add_stream("aac", rate=audio_rate, layout="stereo")
    stream.bit_rate = AAC_BIT_RATE
    stream.codec_context.flags |= Flags.bitexact
    return stream


def _video_frame(pixels: npt.NDArray[np.uint8], n: int, rate: Fraction, converter: VideoReformatter) -> Any:
    frame = converter.reformat(
        av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24"),
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        threads=1,
    )
    frame.pts, frame.time_base = n, 1 / rate
    return frame


def _audio_frames(waveform: npt.NDArray[np.float32], audio_rate: int) -> Iterator[Any]:
    for start in range(0, waveform.shape[1], AAC_FRAME):
        samples = np.ascontiguousarray(waveform[:, start : start + AAC_FRAME], dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = audio_rate, start, Fraction(1, audio_rate)
        yield frame


def _mux_until(container: Any, audio: Any, pieces: Iterator[Any], end: Fraction) -> None:
    """Write the audio that begins before `end`, so that both streams lie side by side in the file."""
    for frame in pieces:
        for packet in audio.encode(frame):
            container.mux(packet)
        if (frame.pts + frame.samples) * frame.time_base >= end:
            return


EDGE = 320
"""Pixels of the longer edge; smaller clips keep their size."""


def write_preview(clip: Clip, video: Path, poster: Path) -> None:
    """Write the frames and the audio that training sees as an mp4 of at most `EDGE` pixels, and the middle frame.

    Raises:
        MediaError: the file cannot be read or decoded any more.
        StorageError: the disk is full or read-only.
    """
    frames = _small(clip_frames(clip))
    audio = clip_audio(clip) if clip.has_sound else None
    with atomic_path(poster) as partial:
        Image.fromarray(frames[len(frames) // 2]).save(partial, format="JPEG", quality=80)
    write_mp4(video, frames, clip.frame_rate, audio, AUDIO_RATE)


def _small(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Frames uint8 [F, H, W, 3] with even edges of at most `EDGE` pixels."""
    height, width = frames.shape[1:3]
    scale = EDGE / max(height, width)
    if scale >= 1:
        return frames
    size = max(round(width * scale / 2), 1) * 2, max(round(height * scale / 2), 1) * 2
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR)) for frame in frames])
