"""The VAEs of `encode_latents`, and how they run on this device. Needs torch when imported."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from datasets_spec import Clip
from ltx_core.autoencoder.audio import encode_audio
from ltx_core.autoencoder.compiled import compiled_encoder, shapes_to_compile
from ltx_core.autoencoder.device_memory import describe, free_bytes, plan_encoding
from ltx_core.autoencoder.encoding import ClipEncoder, encode_clips
from ltx_core.autoencoder.mel import mel_config
from ltx_core.autoencoder.memory import VaeMemory, auto_batch_size
from ltx_core.autoencoder.video import encode_pixels
from ltx_core.checkpoint.load import load_audio_vae, load_video_vae
from ltx_core.media.errors import MediaError
from ltx_core.shapes import PixelShape
from tasks.clip_decoding import decoded_clips
from tasks.device import prepare_device, torch_dtype
from tasks.stage_run import StageRun
from tasks.vae_memory import vae_options
from tasks.weights import open_weights


def clip_encoder(clips: Sequence[Clip], run: StageRun) -> ClipEncoder:
    """Load the VAEs and decide for each shape among `clips` what is cut and what is compiled; says so in the log.

    Raises:
        OutOfMemory: a shape does not fit the device.
    """
    checkpoint, device = open_weights(run.shared.model).checkpoint, prepare_device(run.shared.memory)
    dtype = torch_dtype(run.config.dtype)
    vae = load_video_vae(checkpoint, device=device, dtype=dtype)
    audio_vae = load_audio_vae(checkpoint, device=device, dtype=torch.float32)
    mel = mel_config(checkpoint.config)
    run.memo.check()
    plans = _plans(vae, clips, run)
    compiled = _compiled_shapes(vae, clips, plans, run)
    encoder = compiled_encoder(vae) if compiled else None

    def video(pixels: Tensor) -> Tensor:
        shape = PixelShape(*pixels.shape[2:])
        return encode_pixels(vae, pixels, memory=plans[shape], encoder=encoder if shape in compiled else None)

    return ClipEncoder(
        device=vae.device,
        video=video,
        audio=lambda sound: encode_audio(audio_vae, sound, mel),
        batch_size=lambda shape: _batch_size(shape, vae.device, run),
    )


def encoded(
    clips: Sequence[tuple[str, Clip]], run: StageRun, refused: dict[str, MediaError]
) -> Generator[tuple[str, dict[str, Tensor]], None, None]:
    """Latents of each (key, clip); what cannot be decoded goes to `refused`, by key.

    Raises:
        OutOfMemory: a shape does not fit the device.
        Stopped: the stage was asked to stop.
    """
    if not clips:
        return
    encoder = clip_encoder([clip for _, clip in clips], run)
    with closing(decoded_clips(clips, run, refused)) as decoded:
        for clip, tensors in encode_clips(decoded, encoder):
            yield clip.key, tensors


def info(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What rows say of a clip's tensors."""
    return {
        "video_shape": list(tensors["video"].shape),
        "audio_tokens": tensors["audio"].shape[0] if "audio" in tensors else 0,
    }


def is_finite(tensors: Mapping[str, Tensor]) -> bool:
    """Whether no value is NaN or infinite."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors.values())


def _shape(clip: Clip) -> PixelShape:
    return PixelShape(clip.num_frames, clip.height, clip.width)


def _batch_size(shape: PixelShape, device: torch.device, run: StageRun) -> int:
    wanted = run.config.batch_size
    return auto_batch_size(shape, device) if wanted == "auto" else int(wanted)


def _plans(vae: Any, clips: Sequence[Clip], run: StageRun) -> dict[PixelShape, VaeMemory]:
    options = vae_options(run.shared.memory, run.config.tile_size, run.config.tile_overlap)
    plans = {}
    for shape in sorted({_shape(clip) for clip in clips}):
        batch = _batch_size(shape, vae.device, run)
        free = free_bytes(vae.device)
        plan = plan_encoding(vae, shape, options, batch=batch)
        run.progress.note(f"{describe(plan, shape, free)}; {batch} at once")
        plans[shape] = plan.memory
    return plans


def _compiled_shapes(
    vae: Any, clips: Sequence[Clip], plans: Mapping[PixelShape, VaeMemory], run: StageRun
) -> frozenset[PixelShape]:
    """Those that are worth it; chunks run layer by layer, and are not compiled."""
    whole = [_shape(clip) for clip in clips if plans[_shape(clip)].chunk_frames is None]
    compiled = shapes_to_compile(whole, run.config.compile, vae.device)
    for shape in sorted(compiled):
        run.progress.note(f"video VAE, {'x'.join(map(str, shape))}: compiled, which takes a while at its first clip")
    return compiled
