"""Write the declared corpus to a folder, captions beside the files and the broken ones broken as declared."""

import heapq
import itertools
import shutil
import wave
from collections.abc import Iterable, Iterator
from fractions import Fraction
from operator import itemgetter
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from PIL import Image

from ltx_core.io.atomic import atomic_path, write_bytes
from ltx_core.progress import SILENT, Progress, stop_if_asked
from ltx_core.tiny.corpus import DECLARED, Audio, Footage
from ltx_core.tiny.scenes import draw
from ltx_core.tiny.sounds import play, spread

ENCODERS = {"h264": "libx264", "vp9": "libvpx-vp9", "aac": "aac", "opus": "libopus", "pcm_s16le": "pcm_s16le"}
"""The encoder for each codec."""
VIDEO_OPTIONS = {
    "h264": {"preset": "veryfast", "crf": "20", "threads": "1", "mbtree": "0"},
    "vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "30", "b": "0", "threads": "1"},
}
"""One thread, so that the bytes do not depend on timing."""
CHUNK_SECONDS = 0.1
"""Audio is handed over in pieces of this length, between the frames, so that both streams lie interleaved."""

Timed = tuple[float, Any, Any]
"""Seconds, the PyAV stream, the frame that it takes then."""


def write_whole(footage: Footage, path: Path) -> None:
    """Draw, play and mux one file; the same bytes every time on one machine."""
    # Bit-exact: ffmpeg leaves out its version, the time of writing and random identifiers. Fast start: the index lies
    # before the data, so that a file cut short still opens.
    options = {"fflags": "+bitexact", **({"movflags": "+faststart"} if footage.muxer in ("mp4", "mov") else {})}
    with av.open(str(path), "w", format=footage.muxer, options=options) as container:
        streams = [video_frames(footage, add_video(container, footage))]
        if footage.audio:
            streams.append(audio_chunks(footage, footage.audio, add_audio(container, footage.audio)))
        for _, stream, frame in heapq.merge(*streams, key=itemgetter(0)):
            container.mux(stream.encode(frame))
        for stream in container.streams:
            container.mux(stream.encode(None))


def add_video(container: Any, footage: Footage) -> Any:
    """A video stream for the stored frames, its display rotation set."""
    rate = footage.frame_rate
    stream = container.add_stream(ENCODERS[footage.video_codec], rate=rate, options=VIDEO_OPTIONS[footage.video_codec])
    stream.width, stream.height = footage.coded_size
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = stream.time_base = 1 / rate
    stream.codec_context.flags |= Flags.bitexact
    stream.codec_context.gop_size = 24
    if footage.rotation:
        stream.set_display_rotation(-footage.rotation)  # ffmpeg counts anticlockwise
    return stream


def add_audio(container: Any, audio: Audio) -> Any:
    """An audio stream of the declared codec, layout and rate."""
    stream = container.add_stream(ENCODERS[audio.codec], rate=audio.rate, layout=audio.layout)
    stream.codec_context.flags |= Flags.bitexact
    return stream


def video_frames(footage: Footage, stream: Any) -> Iterator[Timed]:
    """Every frame as it is stored: upright ones are turned back by the rotation that players undo."""
    steps = footage.frame_steps
    for begin, end in itertools.pairwise(steps):
        time = float(begin / footage.frame_rate)
        drawn = draw(footage.scene, time, footage.seconds, (footage.width, footage.height))
        stored = np.ascontiguousarray(np.rot90(drawn, footage.rotation // 90))  # anticlockwise
        frame = av.VideoFrame.from_ndarray(stored, format="rgb24")
        frame.pts, frame.duration, frame.time_base = begin, end - begin, 1 / footage.frame_rate
        yield time, stream, frame


def audio_chunks(footage: Footage, audio: Audio, stream: Any) -> Iterator[Timed]:
    """The audio of the whole file in pieces of `CHUNK_SECONDS`."""
    samples = spread(play(audio.name, footage.seconds, audio.rate), audio.layout)
    length = round(CHUNK_SECONDS * audio.rate)
    for begin in range(0, samples.shape[1], length):
        chunk = np.ascontiguousarray(samples[:, begin : begin + length])
        frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout=audio.layout)
        frame.sample_rate, frame.pts, frame.time_base = audio.rate, begin, Fraction(1, audio.rate)
        yield begin / audio.rate, stream, frame


IMAGE, IMAGE_SIZE = "talking_face", (200, 150)
AUDIO, AUDIO_SECONDS, AUDIO_RATE = "birds", 2.0, 48_000


def write_image(path: Path) -> Path:
    """Write a PNG of another shape than renders have, so that it is cropped.

    Raises:
        StorageError: the disk is full or read-only.
    """
    with atomic_path(path) as partial:
        Image.fromarray(draw(IMAGE, 0.3, 1.0, IMAGE_SIZE)).save(partial, format="PNG")
    return path


def write_audio(path: Path) -> Path:
    """Write a WAV file of 16 bits, stereo.

    Raises:
        StorageError: the disk is full or read-only.
    """
    samples = np.round(play(AUDIO, AUDIO_SECONDS, AUDIO_RATE) * 32767).astype("<i2")
    with atomic_path(path) as partial, wave.open(str(partial), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(AUDIO_RATE)
        file.writeframes(samples.T.tobytes())
    return path


KEPT_OF_TRUNCATED = 0.6
"""Fraction of a truncated file's bytes that are left: all of its index, half of its data."""


def write_footage(folder: Path, declared: Iterable[Footage] = DECLARED, progress: Progress = SILENT) -> list[Path]:
    """Write every declared file and its caption below `folder`, replacing what has their names; the media paths.

    Raises:
        StorageError: the disk is full or read-only.
        Stopped: asked to stop; the files written so far are whole.
    """
    declared = list(declared)
    paths = []
    for done, footage in enumerate(declared, 1):
        stop_if_asked(progress, "writing footage")
        path = folder / footage.name
        write_one(footage, path, folder)
        write_bytes(path.with_suffix(".txt"), footage.caption.encode() + b"\n")
        paths.append(path)
        progress.advance(done, len(declared), "files")
    return paths


def write_one(footage: Footage, path: Path, folder: Path) -> None:
    """Write one file as declared; a copy is made from its original, which must be there already."""
    with atomic_path(path) as partial:
        if footage.broken == "empty":
            partial.write_bytes(b"")
        elif footage.copy_of:
            shutil.copyfile(folder / footage.copy_of, partial)
        else:
            write_whole(footage, partial)
        if footage.broken == "truncated":
            data = partial.read_bytes()
            partial.write_bytes(data[: round(len(data) * KEPT_OF_TRUNCATED)])
