"""The VAEs of `encode_latents`, and how they run on this device. Needs torch when imported."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from datasets_spec import Clip
from ltx_core.autoencoder.audio import encode_audio, mel_config
from ltx_core.autoencoder.encoding import ClipEncoder, Decoded, encode_clips
from ltx_core.autoencoder.video import compiled_encoder, encode_pixels, shapes_to_compile
from ltx_core.checkpoint.load import load_audio_vae, load_video_vae
from ltx_core.media.clip import WholeClip, beside_images, clip_files, clip_seconds, whole_clip
from ltx_core.media.errors import MediaError
from ltx_core.memory.plan import free_bytes, plan
from ltx_core.memory.video_vae import VaeMemory, VaeWork, auto_batch_size
from ltx_core.shapes import PixelShape
from ltx_core.store.shards import Entry
from ltx_core.store.tensor_items import ShardReader
from tasks.runtime.device import prepare_device, torch_dtype
from tasks.runtime.stage import StageRun
from tasks.stages.parts.encode_missing import ClipShardConfig, EncodeLatentsConfig
from tasks.stages.parts.file_reading import FileJob, read_file, read_files
from tasks.stages.parts.memory import vae_options

AUDIO_BYTES = 2 * 4 * 16_000
"""A second of it."""
MIB = 2**20


def decoded_clips(
    clips: Sequence[tuple[str, Clip]],
    run: StageRun[ClipShardConfig],
    refused: dict[str, MediaError],
    decode: Callable[[Clip], WholeClip] = whole_clip,
) -> Generator[Decoded, None, None]:
    """Each (key, clip) in order, decoded in worker processes; what cannot be decoded goes to `refused`, by key, and
    holds up nothing else. `decode`: default all frames, and the audio and mask; from a module without torch.

    Raises:
        Stopped: the stage was asked to stop.
    """
    config = run.config
    found = read_files(
        [FileJob(key, clip_files(clip), decode, (clip,)) for key, clip in clips],
        run,
        "decoding clips",
        workers=config.decode_workers,
        max_bytes=config.decode_ahead_mib * MIB,
        size=lambda job: _num_bytes(*job.arguments),
    )
    with closing(found) as results:
        for (_, clip), (key, whole) in zip(clips, results, strict=True):
            if isinstance(whole, MediaError):
                refused[key] = whole
                continue
            frames, audio, mask, reference, audio_reference = map(_tensor, whole)
            yield Decoded(key, frames, audio, mask, reference, tuple(clip.keyframes), audio_reference)


def _tensor(array: npt.NDArray[Any] | None) -> Any:
    return None if array is None else torch.from_numpy(array)


def _num_bytes(clip: Clip) -> int:
    pixels = sum(shape.frames * shape.height * shape.width for shape in _shapes(clip))
    return 3 * pixels + round(AUDIO_BYTES * clip_seconds(clip))


def clip_encoder(clips: Sequence[Clip], run: StageRun[EncodeLatentsConfig]) -> ClipEncoder:
    """Load the VAEs and decide for each shape among `clips` what is cut and what is compiled; says so in the log.

    Raises:
        OutOfMemory: a shape does not fit the device.
    """
    checkpoint, device = run.model, prepare_device(run.shared.memory)
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
        audio=lambda waveform: encode_audio(audio_vae, waveform, mel),
        batch_size=lambda shape: _batch_size(shape, vae.device, run),
    )


def encode_unseen(
    clips: Sequence[tuple[str, Clip]], run: StageRun[EncodeLatentsConfig], refused: dict[str, MediaError]
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
    """The columns of rows that are about a clip's tensors."""
    return {
        "video_shape": list(tensors["video"].shape),
        "audio_tokens": tensors["audio"].shape[0] if "audio" in tensors else 0,
        **({"reference_shape": list(tensors["reference"].shape)} if "reference" in tensors else {}),
        **({"audio_reference_tokens": len(tensors["audio_reference"])} if "audio_reference" in tensors else {}),
    }


def is_finite(tensors: Mapping[str, Tensor]) -> bool:
    """True if no value is NaN or infinite."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors.values())


def _shapes(clip: Clip) -> list[PixelShape]:
    """Of everything that the video VAE encodes of a clip: its frames, its reference, and its keyframes."""
    width, height = clip.reference_size
    reference = [] if clip.reference is None else [PixelShape(len(clip.reference_numbers), height, width)]
    keyframe = [PixelShape(1, clip.height, clip.width)] if clip.keyframes else []
    return [PixelShape(clip.num_frames, clip.height, clip.width), *reference, *keyframe]


def _batch_size(shape: PixelShape, device: torch.device, run: StageRun[EncodeLatentsConfig]) -> int:
    wanted = run.config.batch_size
    return auto_batch_size(shape, on_gpu=device.type == "cuda") if wanted == "auto" else int(wanted)


def _plans(vae: Any, clips: Sequence[Clip], run: StageRun[EncodeLatentsConfig]) -> dict[PixelShape, VaeMemory]:
    options = vae_options(run.shared.memory, run.config.tile_size, run.config.tile_overlap)
    plans = {}
    for shape in sorted({shape for clip in clips for shape in _shapes(clip)}):
        batch = _batch_size(shape, vae.device, run)
        work = VaeWork.of(vae, shape, decodes=False, batch=batch, asked=options)
        found = plan(work, free_bytes(vae.device))
        run.progress.note(f"{found.why}; {batch} at once")
        plans[shape] = found.options
    return plans


def _compiled_shapes(
    vae: Any, clips: Sequence[Clip], plans: Mapping[PixelShape, VaeMemory], run: StageRun[EncodeLatentsConfig]
) -> frozenset[PixelShape]:
    """Those that are worth it; chunks run layer by layer, and are not compiled."""
    shapes = [shape for clip in clips for shape in _shapes(clip)]
    whole = [shape for shape in shapes if plans[shape].chunk_frames is None]
    compiled = shapes_to_compile(whole, run.config.compile, vae.device)
    for shape in sorted(compiled):
        run.progress.note(f"video VAE, {'x'.join(map(str, shape))}: compiled, which takes a while at its first clip")
    return compiled


def with_other_audio_rows(
    clips: Sequence[tuple[str, Clip, Entry | None]], run: StageRun[EncodeLatentsConfig], refused: dict[str, MediaError]
) -> Generator[tuple[str, dict[str, Tensor]], None, None]:
    """Each (key, clip) with the video latent of a stored item of the same frames, which its own would equal; of
    audio alone, with one that has no places.

    What cannot be decoded goes to `refused`, by key.
    """
    if not clips:
        return
    if stored := sum(entry is not None for _, _, entry in clips):
        run.progress.note(f"{stored} clips have stored video and other audio or another mask: only these are encoded")
    checkpoint, device = run.model, prepare_device(run.shared.memory)
    audio_vae, mel = load_audio_vae(checkpoint, device=device, dtype=torch.float32), mel_config(checkpoint.config)
    run.memo.check()
    reader, channels = ShardReader(run.workspace.root), int(checkpoint.arguments("video_vae")["latent_channels"])
    for key, clip, entry in clips:
        try:
            audio, mask, followed = read_file(run, "decoding audio", clip_files(clip), beside_images, clip)
        except MediaError as error:
            refused[key] = error
            continue
        made: dict[str, Tensor]
        if entry is None:
            made = {"video": torch.zeros(channels, PixelShape(clip.num_frames, 0, 0).latent().frames, 0, 0)}
        else:
            before = reader.read(run.workspace.relative(entry.shard), entry.offset, entry.size, entry.sha256)
            made = {name: before[name].clone() for name in ("video", "reference", "keyframes") if name in before}
        for name, heard in (("audio", audio), ("audio_reference", followed)):
            if heard is not None:
                made[name] = encode_audio(audio_vae, torch.from_numpy(heard).to(device), mel).float().cpu()
        if mask is not None:
            made["mask"] = torch.from_numpy(mask)
        yield key, made
