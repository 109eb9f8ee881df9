"""Video and audio VAE latents for each clip, into WebDataset shards."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from datasets_spec import Clip, Latent, Quarantined, QuarantineReason
from ltx_core.files.digest import DigestMemo, text_digest
from ltx_core.files.lock import folder_lock
from ltx_core.media.errors import MediaError
from ltx_core.pool.index import Entry, read_index
from ltx_core.pool.writer import ShardWriter
from ltx_core.progress import stop_if_asked
from tasks.shards import SHARD_OPTIONS, ShardConfig
from tasks.shared import Shared
from tasks.stage import Observed, Outcome, Stage, Work
from tasks.weights import component_identities, open_weights

if TYPE_CHECKING:
    from torch import Tensor

LATENT_VERSION = 1
"""Bump when the same clip would be encoded to other numbers."""


class EncodeLatentsConfig(ShardConfig):
    """How clips are encoded."""

    dtype: str = Field(
        default="bf16", pattern="^(bf16|fp32)$", description="Precision of the video VAE; audio is fp32."
    )


def encode_latents(work: Work) -> Outcome:
    """Encode what the pool lacks. Clips of equal content share latents, whatever file they come from."""
    memo = work.workspace.digest_memo()
    vaes = _vae_key(work.shared, memo, work.config)
    clips: list[Clip] = list(work.inputs["split"])
    keys = {clip.clip_id: text_digest(vaes, clip.clip_key) for clip in clips}
    folder = work.workspace.pool / "latents" / vaes[:16]
    with folder_lock(folder, work.progress):
        index = read_index(folder, memo)
        memo.save()
        for shard, problem in index.damaged.items():
            work.progress.note(f"{shard.name} is damaged ({problem}); its clips are encoded again")
        known = {} if work.force else dict(index.entries)
        missing = {keys[c.clip_id]: c for c in reversed(clips) if keys[c.clip_id] not in known}
        made, refused = _encode(missing, folder, work, done=len(clips) - len(missing))
        known |= made
    rows = [_row(clip, known[keys[clip.clip_id]], work) for clip in clips if keys[clip.clip_id] in known]
    quarantined = [_verdict(clip, refused[keys[clip.clip_id]]) for clip in clips if keys[clip.clip_id] in refused]
    return Outcome(
        rows=rows,
        quarantined=quarantined,
        num_in=len(clips),
        num_out=len(rows),
        computed=len(made),
        reused=len(rows) - len(made),
        unit="clips",
        figures={"mib": sum(row.size for row in rows) / 2**20},
    )


def _encode(
    missing: Mapping[str, Clip], folder: Path, work: Work, *, done: int
) -> tuple[dict[str, Entry], dict[str, MediaError]]:
    if not missing:
        return {}, {}
    from ltx_core.pool.samples import pack_sample

    encode = _encoder(work)
    refused, total = {}, done + len(missing)
    with ShardWriter(folder, work.config.limits()) as writer:
        for number, (key, clip) in enumerate(sorted(missing.items(), key=lambda pair: pair[1].clip_id)):
            stop_if_asked(work.progress, "encoding clips")
            try:
                tensors = encode(clip)
                data, digest = pack_sample(tensors)
                audio_tokens = tensors["audio"].shape[0] if "audio" in tensors else 0
                shape = list(tensors["video"].shape)
                writer.add(key, data, digest, {"video_shape": shape, "audio_tokens": audio_tokens})
            except MediaError as error:
                refused[key] = error
            work.progress.advance(done + number + 1, total, "clips")
    return writer.committed, refused


def _encoder(work: Work) -> "Callable[[Clip], dict[str, Tensor]]":
    """Load the VAEs and return what turns a clip into its tensors: `video` [C,F,H,W] and, with sound, `audio` [A,D]."""
    import torch

    from ltx_core.autoencoder.audio import encode_audio
    from ltx_core.autoencoder.mel import mel_config
    from ltx_core.autoencoder.video import encode_video
    from ltx_core.checkpoint.load import load_audio_vae, load_video_vae
    from ltx_core.media.clip import clip_frames, clip_sound
    from tasks.device import prepare_device, torch_dtype

    checkpoint, device = open_weights(work.shared.model).checkpoint, prepare_device(work.shared.memory)
    dtype = torch_dtype(work.config.dtype)
    video_vae = load_video_vae(checkpoint, device=device, dtype=dtype)
    audio_vae = load_audio_vae(checkpoint, device=device, dtype=torch.float32)
    mel = mel_config(checkpoint.config)

    def encode(clip: Clip) -> "dict[str, Tensor]":
        frames = torch.from_numpy(clip_frames(clip))
        tensors = {"video": encode_video(video_vae, frames).to(torch.bfloat16)}
        sound = clip_sound(clip) if clip.audio in ("voiced", "other", "silent") else None
        if sound is not None:
            tensors["audio"] = encode_audio(audio_vae, torch.from_numpy(sound), mel).to(torch.float32)
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise MediaError(
                QuarantineReason.NON_FINITE, f"{clip.clip_id} encodes to NaN or infinity; look at the clip, or use fp32"
            )
        return tensors

    return encode


def _row(clip: Clip, entry: Entry, work: Work) -> Latent:
    return Latent(
        clip_id=clip.clip_id,
        clip_key=clip.clip_key,
        latent_key=entry.key,
        caption=clip.caption,
        bucket=clip.bucket,
        split=clip.split,
        repeats=clip.repeats,
        frame_rate=clip.frame_rate,
        video_shape=entry.info["video_shape"],
        audio_tokens=entry.info["audio_tokens"],
        has_audio_loss=clip.audio in ("voiced", "other"),
        sha256=entry.sha256,
        shard=work.workspace.relative(entry.shard),
        offset=entry.offset,
        size=entry.size,
    )


def _verdict(clip: Clip, error: MediaError) -> Quarantined:
    source = clip.media_id.partition("/")[2]
    return Quarantined(item=clip.clip_id, source=source, reason=error.reason, detail=str(error), path=clip.path)


def _vae_key(shared: Shared, memo: DigestMemo, config: EncodeLatentsConfig) -> str:
    """Digest of everything but the clip that latents depend on; names the pool folder."""
    identities: Sequence[str] = list(_identities(shared, memo).values())
    return text_digest(*identities, config.dtype, str(LATENT_VERSION))


def _identities(shared: Shared, memo: DigestMemo) -> dict[str, str]:
    return component_identities(shared.model, memo, "video_vae", "audio_vae")


def observe(_config: EncodeLatentsConfig, shared: Shared, memo: DigestMemo) -> Observed:
    """Both VAEs."""
    return _identities(shared, memo) | {"latent_version": LATENT_VERSION}


STAGE = Stage(
    name="encode_latents",
    summary=__doc__,
    config=EncodeLatentsConfig,
    needs=("split",),
    makes=Latent,
    run=encode_latents,
    observe=observe,
    device="gpu",
    needs_weights=True,
    not_in_key=SHARD_OPTIONS,
)
