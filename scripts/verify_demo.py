"""Prove that a demo made what it says, by decoding and opening it again: `python -m scripts.verify_demo demo`."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from datasets_spec import Clip, Render
from flows.config import RunConfig, load_config
from flows.plan import required_manifest
from ltx_core.autoencoder.video import decode_video, encode_video
from ltx_core.checkpoint.load import load_video_vae
from ltx_core.media.audio import decode_sound
from ltx_core.media.clip import audio_file, clip_frames
from ltx_core.media.frames import decode_frames
from ltx_core.media.image import read_image
from ltx_core.media.measure import loudness_db, motion
from ltx_core.media.probe import probe_media
from ltx_core.sampling.decoding import load_latents
from ltx_core.tiny.world import AUDIO
from scripts.score_tiny import JUDGED, scores
from tasks import stage_named
from tasks.runtime.execute import read_quarantine
from tasks.runtime.weights import open_model
from tasks.stages.render.config import image_crf
from tasks.stages.render.jobs import final_checkpoint
from tasks.tracking.mlflow import connect

SILENCE_DB = -60.0
LATENT_TOLERANCE = 0.02
"""Relative: clips' latents are kept in bf16."""
CODEC_DB = 20.0
"""Least likeness of a frame in the mp4 to the frame that was encoded into it: half the colours are dropped, and random
weights decode to coloured noise."""
VAE_MARGIN_DB = 7.0
"""The decoder sees the frames that follow too, so it is not the same for a frame alone."""
AUDIO_RATE = 48_000
AUDIO_SNR_DB = 15.0
"""AAC keeps no waveform exactly; noise-like audio least."""
UNKNOWN, LEARNT, FORGOTTEN = 0.1, 0.8, 0.05
"""Most of a concept's renders that may be right without the LoRA, fewest with it, and the most that others may lose."""


def main() -> int:
    """Check each result and print what was found; raises at the first that is not as promised."""
    folder = Path(sys.argv[1])
    config = load_config(folder / "ltx2-lora.yaml", {})
    rows = list(required_manifest(stage_named("render_validation"), config.place()))
    clips = {clip.clip_id: clip for clip in required_manifest(stage_named("split"), config.place())}
    conditioned = [*first_frames(config, rows, clips), *audio_tracks(config, rows, clips)]
    found = [*videos(config), *conditioned, lora(config), quarantine(config), *pages(config), tracked(config)]
    for line in [*found, *learnt(config)]:
        sys.stdout.write(f"  {line}\n")
    return 0


def first_frames(config: RunConfig, rows: Iterable[Render], clips: Mapping[str, Clip]) -> Iterator[str]:
    """In every image to video render the first latent is the conditioning frame's, and the first frame what the VAE
    makes of it."""
    vae = load_video_vae(open_model(config.model), device="cpu", dtype=torch.float32)
    for row in (row for row in rows if row.mode == "i2v"):
        path = config.workspace / row.file
        given = torch.from_numpy(_kept_frame(config, row, clips))
        latent, made = encode_video(vae, given[None]), load_latents(path.with_suffix(".safetensors")).video
        off = float((made[:, :1] - latent).norm() / latent.norm())
        check(off < LATENT_TOLERANCE, f"{path}: its first latent is {off:.3f} off the conditioning frame's")
        shown = torch.from_numpy(np.stack(list(decode_frames(path, [0.25 / row.frame_rate]))))[0]
        kept, right = psnr(shown, decode_video(vae, made)[0]), psnr(shown, given)
        own = psnr(decode_video(vae, latent)[0], given)
        check(kept > CODEC_DB, f"{path}: its first frame is {kept:.1f} dB like what was decoded")
        check(right > own - VAE_MARGIN_DB, f"{path}: first frame at {right:.1f} dB, the VAE alone at {own:.1f} dB")
        yield (
            f"{row.variant:<9} starts from {row.clip_id or row.given_file}: latent off by {off:.1e}, frame at "
            f"{right:.1f} dB of the image (VAE alone {own:.1f} dB)"
        )


def audio_tracks(config: RunConfig, rows: Iterable[Render], clips: Mapping[str, Clip]) -> Iterator[str]:
    """In every audio to video render the audio is that of the source, at the same time, up to AAC."""
    for row in (row for row in rows if row.mode == "s2v"):
        path, seconds = config.workspace / row.file, row.num_frames / row.frame_rate
        source = audio_file(clips[row.clip_id]) if row.clip_id else row.given_file
        given = decode_sound(Path(str(source)), row.given_start_seconds, seconds, rate=AUDIO_RATE)
        heard = decode_sound(path, 0.0, seconds, rate=AUDIO_RATE)
        snr = -np.inf if given is None or heard is None else snr_db(heard, given)
        check(snr > AUDIO_SNR_DB, f"{path}: its audio is {snr:.1f} dB like that of {source}")
        yield f"{row.variant:<9} keeps the audio of {row.clip_id or source} at {snr:.1f} dB"


def snr_db(heard: np.ndarray, given: np.ndarray) -> float:
    """Power of the source's audio over that of the difference, in dB; a shift by one sample already costs much of
    it."""
    noise = np.square(heard - given, dtype=np.float64).sum()
    return float(10 * np.log10(np.square(given, dtype=np.float64).sum() / noise))


def psnr(one: torch.Tensor, other: torch.Tensor) -> float:
    """Likeness of two images of bytes in dB."""
    return float(10 * torch.log10(255**2 / (one.float() - other.float()).square().mean().clamp(min=1e-9)))


def _kept_frame(config: RunConfig, row: Render, clips: Mapping[str, Clip]) -> np.ndarray:
    if row.clip_id:
        return clip_frames(clips[row.clip_id])[0]
    crf = image_crf(config.render_validation, config.shared())
    return read_image(Path(str(row.given_file)), (row.width, row.height), crf=crf)


def check(condition: bool, failure: str) -> None:
    """Stop with a message.

    Raises:
        SystemExit: the condition does not hold.
    """
    if not condition:
        raise SystemExit(f"demo is not as promised: {failure}")


def videos(config: RunConfig) -> list[str]:
    """Every render plays: all frames decode, the video moves, the audio is as long as the video and heard."""
    lines = []
    for row in required_manifest(stage_named("render_validation"), config.place()):
        path = config.workspace / row.file
        info = probe_media(path)
        times = [(i + 0.25) / row.frame_rate for i in range(info.num_frames)]
        frames = np.stack(list(decode_frames(path, times)))
        sound = decode_sound(path, 0.0, info.duration_seconds, rate=info.audio_rate)
        level = loudness_db(sound)
        check(
            len(frames) == row.num_frames and motion(frames) > 0, f"{path}: {len(frames)} frames, all alike or missing"
        )
        silent = AUDIO["silence"].words in row.prompt
        check(sound is not None and (silent or level > SILENCE_DB), f"{path}: sound at {level:.0f} dB")
        lines.append(
            f"{row.variant:<9} {info.width}x{info.height} {len(frames)} frames, {info.video_codec} + "
            f"{info.audio_codec} {info.audio_rate} Hz at {level:.0f} dB: {path.name}"
        )
    check(bool(lines), "no renders")
    return lines


def lora(config: RunConfig) -> str:
    """The LoRA opens, is finite, trains sound too, and its eval loss is under the base model's."""
    row = final_checkpoint(required_manifest(stage_named("train_lora"), config.place()))
    with safe_open(config.workspace / row.file, framework="np") as file:
        names = list(file.keys())
    audio = [name for name in names if ".audio_attn" in name]
    check(bool(audio), "the LoRA has no audio layer")
    check(row.eval_loss is not None and row.eval_loss < row.base_eval_loss, "eval loss did not fall")
    return (
        f"LoRA of {len(names)} tensors ({len(audio)} of the sound's attention), {row.step} steps, "
        f"eval loss {row.base_eval_loss:.3f} -> {row.eval_loss:.3f}: {row.file}"
    )


def quarantine(config: RunConfig) -> str:
    """The broken files were set aside, each with its reason."""
    stages = [stage_named(name) for name in ("probe", "split")]
    found = [item for stage in stages for item in read_quarantine(required_manifest(stage, config.place()))]
    check(len({item.reason for item in found}) == len(found) == 2, f"quarantine holds {found}")
    return "quarantine: " + ", ".join(f"{item.source} {item.reason.value}" for item in found)


def pages(config: RunConfig) -> list[str]:
    """Pages and images for people."""
    found = [
        *config.workspace.glob("stages/split/*/contact-sheet-*.png"),
        *config.workspace.glob("stages/render_validation/*/gallery.html"),
        *config.workspace.glob("runs/*/index.html"),
    ]
    check(len(found) >= 3, f"pages missing, only {found}")
    return [f"look at  {path}" for path in found]


def tracked(config: RunConfig) -> str:
    """The MLflow run, and the registered version."""
    client, experiment = connect(config.tracking, config.place())
    runs = client.search_runs([experiment])
    versions = client.search_model_versions(f"name = '{config.register.model_name}'")
    check(bool(runs) and bool(versions), "no MLflow run, or no registered version")
    return f"MLflow: {len(runs)} runs, {config.register.model_name} version {versions[0].version} registered"


def learnt(config: RunConfig) -> list[str]:
    """The LoRA taught both concepts, and the model still knows what it knew."""
    lines = []
    for name, count, before, after in scores(config):
        if name == "known":
            check(after >= before - FORGOTTEN, f"{name}: right in {before:.0%} without the LoRA, {after:.0%} with it")
        else:
            check(before <= UNKNOWN, f"{name}: right in {before:.0%} of the renders without the LoRA")
            check(after >= LEARNT, f"{name}: right in {after:.0%} of the renders with the LoRA")
        lines.append(
            f"{name:<5} {JUDGED[name]:<6} right in {before:.0%} of {count} without the LoRA, in {after:.0%} with it"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
