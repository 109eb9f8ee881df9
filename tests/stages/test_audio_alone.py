"""Datasets of audio: files of audio and the audio of videos, from their bytes to a LoRA of the audio's layers."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from datasets_spec import QuarantineReason
from ltx_core.adapters.lora_layout import stream_of, strip_prefix
from ltx_core.io.tensors import read_tensors
from ltx_core.media.audio import decode_audio
from ltx_core.media.clip import clip_audio, clip_frames
from ltx_core.media.probe import probe_media
from ltx_core.sampling.decoding import load_latents
from ltx_core.store.tensor_items import ShardReader
from ltx_core.tiny.sounds import play
from tests.stages.bench import Bench, computed, set_aside, write_clip

pytestmark = pytest.mark.whole

FORMATS = {
    "hum.wav": ("wav", "pcm_s16le", 44_100),
    "birds.flac": ("flac", "flac", 48_000),
    "wind.mp3": ("mp3", "libmp3lame", 44_100),
    "voice.ogg": ("ogg", "libopus", 48_000),
    "ticks.m4a": ("ipod", "aac", 44_100),
}
SOUNDS = {
    "hum.wav": "hum_and_clicks",
    "birds.flac": "birds",
    "wind.mp3": "wind",
    "voice.ogg": "voice",
    "ticks.m4a": "ticking",
}


def write_sound(path: Path, samples: np.ndarray, rate: int, muxer: str, codec: str) -> None:
    """Write stereo samples [2, N], and a caption beside them."""
    with av.open(str(path), "w", format=muxer) as container:
        stream = container.add_stream(codec, rate=rate, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.astype(np.float32)), "fltp", "stereo")
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
        resampler = av.AudioResampler(stream.format, "stereo", rate, frame_size=stream.codec_context.frame_size or 1024)
        for one in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(one))
        container.mux(stream.encode(None))
    path.with_suffix(".txt").write_text(f"The sound of {path.stem}.")


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A file of each format, one second long, and a video."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    for name, (muxer, codec, rate) in FORMATS.items():
        write_sound(folder / name, play(SOUNDS[name], 1.0, rate), rate, muxer, codec)
    write_clip(folder, "ball.mp4", "bouncing_ball", num_frames=30)
    return folder


def of_audio(folder: Path, **more: Any) -> dict[str, Any]:
    frames = {"video": {"num_frames": 9}}
    return {
        "id": "sounds",
        "instance_data_dir": str(folder),
        "dataset_type": "audio",
        "eval_fraction": 0.2,
        **frames,
        **more,
    }


def test_files_of_audio_train_the_layers_of_the_audio(own: Bench, sounds: Path) -> None:
    (sounds / "quiet.txt").write_text("Nothing.")
    write_sound(sounds / "quiet.wav", np.zeros((2, 44_100)), 44_100, "wav", "pcm_s16le")
    cut = (sounds / "hum.wav").read_bytes()
    (sounds / "cut.wav").write_bytes(cut[: len(cut) // 2])
    (sounds / "cut.txt").write_text("Half.")
    (sounds / "empty.mp3").write_bytes(b"")
    bench = replace(own, vision=None).set(datasets=[of_audio(sounds)], limits__max_quarantined_fraction=0.9)
    results = bench.run("train_lora")
    assert {row.source: row.reason for row in set_aside(results["probe"])} == {
        "cut.wav": QuarantineReason.TRUNCATED,
        "empty.mp3": QuarantineReason.EMPTY_FILE,
    }
    assert {(row.source, row.reason) for row in set_aside(results["split"])} == {
        ("quiet.wav", QuarantineReason.NO_AUDIO)
    }
    clips = list(results["split"].manifest)
    assert {clip.media_id.partition("/")[2] for clip in clips} == {*FORMATS, "ball.mp4"}
    assert {(clip.bucket, clip.frame_rate, clip.has_video) for clip in clips} == {("0x0@9", 25.0, False)}
    assert len(clips) >= 2 * len(FORMATS)
    rows = list(results["encode_latents"].manifest)
    assert {(tuple(row.video_shape[1:]), row.audio_tokens, row.has_audio_loss) for row in rows} == {
        ((2, 0, 0), 9, True)
    }
    reader = ShardReader(bench.workspace)
    assert all(reader.read(r.shard, r.offset, r.size, r.sha256)["video"].numel() == 0 for r in rows)
    final = next(iter(results["train_lora"].manifest))
    assert final.eval_loss is not None
    tensors, _ = read_tensors(bench.workspace / final.file)
    assert {stream_of(strip_prefix(name)) for name in tensors} == {"audio"}
    assert (results["split"].run.out / "contact-sheet-sounds-train.png").is_file()
    sound, picture = clip_audio(clips[0]), clip_frames(clips[0])
    assert sound is not None
    assert picture.shape == (9, 128, 256, 3)
    assert picture.std() > 5

    heard = bench.set(render_validation__audio_only=True, train_lora__samples={"every_steps": 1, "num_steps": 2})
    heard = heard.set(train_lora__samples__allow_broken_base=True)
    shown = heard.run("render_validation", force="train_lora")
    samples = sorted((shown["train_lora"].run.out / "samples").rglob("*.mp4"))
    assert samples
    assert (probe_media(samples[0]).width, probe_media(samples[0]).height) == (256, 128)
    renders = list(shown["render_validation"].manifest)
    assert {(row.mode, row.variant) for row in renders} == {("t2a", "base"), ("t2a", "candidate")}
    latents = [load_latents((bench.workspace / row.file).with_suffix(".safetensors")) for row in renders]
    assert all(one.video.numel() == 0 for one in latents)
    assert not torch.equal(latents[0].audio, latents[1].audio)
    assert decode_audio(bench.workspace / renders[0].file, 0.0, 0.3) is not None

    again = bench.but().run("train_lora")
    assert not any(result.built for result in again.values())
    loud = bench.set(datasets=[of_audio(sounds, audio={"silence": "train"})]).run("encode_latents")
    assert computed(loud)["encode_latents"] >= 2


def test_audio_alone_trains_beside_videos(own: Bench, sounds: Path) -> None:
    """The same video in a dataset of each type is probed and cut for both; renders are of clips with video alone."""
    copy = own.footage / "ball.mp4"
    copy.write_bytes((sounds / "ball.mp4").read_bytes())
    copy.with_suffix(".txt").write_text("A ball.")
    both = [own.values["datasets"][0], of_audio(sounds)]
    bench = replace(own, vision=None).set(datasets=both, train_lora__steps=8)
    bench = bench.set(render_validation__image_to_video_clips=1)
    results = bench.run("render_validation")
    rows = list(results["encode_latents"].manifest)
    assert {row.has_video for row in rows if "ball.mp4" in row.clip_id} == {True, False}
    tensors, _ = read_tensors(bench.workspace / next(iter(results["train_lora"].manifest)).file)
    assert {stream_of(strip_prefix(name)) for name in tensors} == {"video", "audio", "cross"}
    given = [row.clip_id for row in results["render_validation"].manifest if row.clip_id]
    assert given
    assert all(name.startswith("set/") for name in given)


def test_options_of_frames_are_refused(own: Bench, sounds: Path) -> None:
    for wrong in ({"resolution": 512.5}, {"video": {"alpha": "white"}}, {"reference": {"derive": "edges"}}):
        with pytest.raises(Exception, match=r"dataset_type 'audio', which has no video"):
            own.set(datasets=[of_audio(sounds, **wrong)]).run("probe")
