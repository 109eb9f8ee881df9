"""Prove that renders keep their conditioning: the first frame in image to video, the audio in audio to video."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from datasets_spec import Clip, Render
from flows.config import RunConfig
from ltx_core.autoencoder.video import decode_video, encode_video
from ltx_core.checkpoint.load import load_video_vae
from ltx_core.media.audio import decode_sound
from ltx_core.media.clip import audio_file, clip_frames
from ltx_core.media.frames import decode_frames
from ltx_core.media.image import read_image
from ltx_core.sampling.decoding import load_latents
from tasks.runtime.weights import open_model
from tasks.stages.render.config import image_crf

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


def check(condition: bool, failure: str) -> None:
    """Stop with a message.

    Raises:
        SystemExit: the condition does not hold.
    """
    if not condition:
        raise SystemExit(f"demo is not as promised: {failure}")


def _kept_frame(config: RunConfig, row: Render, clips: Mapping[str, Clip]) -> np.ndarray:
    if row.clip_id:
        return clip_frames(clips[row.clip_id])[0]
    crf = image_crf(config.render_validation, config.shared())
    return read_image(Path(str(row.given_file)), (row.width, row.height), crf=crf)
