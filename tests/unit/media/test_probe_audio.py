"""Files of audio alone: how long they are, whatever their headers guess."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from datasets_spec import QuarantineReason
from ltx_core.media.errors import MediaError
from ltx_core.media.probe import probe_audio

RATE = 44_100


def write_mp3(path: Path, samples: np.ndarray) -> Path:
    """An MP3 of variable bit rate without a header that says how long it is."""
    with av.open(str(path), "w", format="mp3", options={"write_xing": "0"}) as container:
        stream = container.add_stream("libmp3lame", rate=RATE, layout="stereo")
        stream.codec_context.flags |= av.codec.context.Flags.qscale
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32), "fltp", "stereo")
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), 0
        resampler = av.AudioResampler(stream.format, "stereo", RATE, frame_size=1152)
        for one in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(one))
        container.mux(stream.encode(None))
    return path


def test_a_length_that_is_guessed_proves_nothing(tmp_path: Path) -> None:
    """ffmpeg takes the bit rate of its quiet beginning for that of the whole file."""
    quiet, loud = np.zeros((2, 6 * RATE)), np.random.default_rng(0).uniform(-0.5, 0.5, (2, 4 * RATE))
    path = write_mp3(tmp_path / "song.mp3", np.concatenate([quiet, loud], axis=1))
    with av.open(str(path)) as container:
        assert container.duration / 1e6 > 12
    found = probe_audio(path)
    assert found.duration_seconds == pytest.approx(10, abs=0.1)
    assert (found.width, found.height, found.num_frames, found.usual_rate) == (0, 0, 251, 25)


@pytest.mark.parametrize("content", [b"", b"no audio at all", b"RIFF\xff\xff\xff\xffWAVEfmt " + bytes(20)])
def test_files_that_are_no_audio_are_not_said_to_be_videos(content: bytes, tmp_path: Path) -> None:
    (path := tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(MediaError) as caught:
        probe_audio(path)
    assert "a video" not in str(caught.value)


def test_a_file_without_audio_is_none(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "mute.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), dtype=np.uint8), "rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(MediaError) as error:
        probe_audio(tmp_path / "mute.mp4")
    assert error.value.reason is QuarantineReason.NO_AUDIO
