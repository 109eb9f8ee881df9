"""A vision encoder's features of the frames of each clip that is trained on; left out unless training uses them."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field

from datasets_spec import Clip, Frames, QuarantineReason
from ltx_core.files.digest import DigestMemo, text_digest
from ltx_core.media.clip import picture_key
from ltx_core.media.errors import MediaError
from ltx_core.media.whole_clip import latent_clip
from ltx_core.pool.index import Entry
from ltx_core.progress import Progress
from ltx_core.vision.folder import encoder_identity
from tasks.encode_missing import Encoded, Refused, by_shape, encode_clips
from tasks.frame_encoder import check_encoder, fetch_encoder, opened_encoder, pending_encoder
from tasks.frame_memory import memory_lines
from tasks.loading import loading
from tasks.shards import SHARD_OPTIONS, ShardConfig
from tasks.shared import Shared
from tasks.stage import Observed, Outcome, Sections, Stage
from tasks.stage_run import StageRun
from tasks.subjects import DECODING

if TYPE_CHECKING:
    from ltx_core.checkpoint.pending import PendingFile

DECIDES = ("encoder", "revision", "image_size", "dtype")
"""Options that decide features."""


class EmbedFramesConfig(ShardConfig):
    """How frames are embedded."""

    LOCATIONS = ("encoder",)

    encoder: str = Field(
        default="facebook/dinov2-giant",
        min_length=1,
        description="DINOv2 in transformers' layout: a folder, or a repository on the hub such as "
        "`facebook/dinov2-small`, `-base`, `-large`, `-giant`.",
    )
    revision: str | None = Field(default=None, description="Branch, tag or commit of the repository; default `main`.")
    image_size: int = Field(
        default=518,
        ge=14,
        le=2048,
        description="Pixel edge that frames are squeezed to for the encoder; a multiple of its patches of 14.",
    )
    dtype: str = Field(default="bf16", pattern="^(bf16|fp32)$", description="Precision of the encoder.")
    frames_at_once: int = Field(
        default=16, ge=1, le=1024, description="Most frames of a clip computed at once; changes features by rounding."
    )
    decode_workers: int | None = Field(
        default=None, ge=1, le=128, description="Processes that decode ahead; default one a core, at most 16."
    )
    decode_ahead_mib: int = Field(
        default=4096, ge=64, le=2**20, description="Host memory that decoded clips may take while they wait."
    )

    def named(self) -> list[str]:
        """Options that decide features and are not at their defaults."""
        return [name for name in DECIDES if getattr(self, name) != type(self).model_fields[name].default]


def embed_frames(run: StageRun) -> Outcome:
    """Embed what the pool lacks. Clips of equal pictures share features; held-out clips need none."""
    encoder = _encoder_key(run, run.memo)
    clips: list[Clip] = [clip for clip in run.inputs["split"] if clip.split == "train"]
    keys = {clip.clip_id: text_digest(encoder, picture_key(clip)) for clip in clips}
    folder = run.workspace.pool / "frames" / encoder[:16]
    return encode_clips(run, folder, keys, clips, partial(_embed, run), partial(_row, run=run))


def _embed(
    run: StageRun, missing: Mapping[str, Clip], _known: Mapping[str, Entry], refused: Refused
) -> Generator[Encoded, None, None]:
    with loading():
        from ltx_core.vision.frames import embed_clips
        from tasks.clip_decoding import decoded_clips

    encoder = _loaded(run)
    with closing(decoded_clips(by_shape(missing), run, refused, latent_clip)) as decoded:
        for clip, features in embed_clips(decoded, encoder):
            if bool(features.isfinite().all()):
                yield Encoded(clip.key, partial(dict, {"features": features}), {"shape": list(features.shape)})
            else:
                refused[clip.key] = MediaError(
                    QuarantineReason.NON_FINITE,
                    f"{missing[clip.key].clip_id} has features of NaN or infinity; look at the clip, or use fp32",
                )


def _loaded(run: StageRun) -> Any:
    with loading():
        from ltx_core.vision.dinov2 import load_frame_encoder
        from tasks.device import prepare_device, torch_dtype

    encoder = load_frame_encoder(
        opened_encoder(run.config.encoder),
        image_size=run.config.image_size,
        frames_at_once=run.config.frames_at_once,
        device=prepare_device(run.shared.memory),
        dtype=torch_dtype(run.config.dtype),
    )
    run.memo.check()
    return encoder


def _row(clip: Clip, entry: Entry, run: StageRun) -> Frames:
    return Frames(
        clip_id=clip.clip_id,
        clip_key=clip.clip_key,
        feature_key=entry.key,
        shape=entry.info["shape"],
        sha256=entry.sha256,
        shard=run.workspace.relative(entry.shard),
        offset=entry.offset,
        size=entry.size,
    )


def _encoder_key(run: StageRun, memo: DigestMemo) -> str:
    """Digest of everything but the clip that features depend on; names the pool folder."""
    config: EmbedFramesConfig = run.config
    return text_digest(_identity(config, memo), str(config.image_size), config.dtype, run.version)


def _identity(config: EmbedFramesConfig, memo: DigestMemo) -> str:
    found = encoder_identity(opened_encoder(config.encoder), memo)
    memo.save()
    return found


def observe(config: EmbedFramesConfig, _shared: Shared, memo: DigestMemo) -> Observed:
    """The encoder."""
    return {"encoder": _identity(config, memo)}


def off(_config: EmbedFramesConfig, sections: Sections) -> str | None:
    """Why nobody reads features, if so."""
    return "train_lora.crepa is not set" if sections("train_lora").crepa is None else None


def check(config: EmbedFramesConfig, _shared: Shared) -> None:
    """An encoder that lies here is one.

    Raises:
        LtxError: it is not, or the location leads nowhere.
    """
    check_encoder(config.encoder, config.image_size)


def pending(config: EmbedFramesConfig, _shared: Shared) -> "Sequence[PendingFile]":
    """The encoder, if it is not here.

    Raises:
        LtxError: it is neither here nor on the hub.
    """
    return pending_encoder(config.encoder, config.revision)


def prepare(config: EmbedFramesConfig, _shared: Shared, progress: Progress) -> EmbedFramesConfig:
    """Download the encoder and see that it is one; afterwards it is named by its folder.

    Raises:
        LtxError: it is not there, is another kind of model, or does not take pictures of that size.
    """
    folder = fetch_encoder(config.encoder, config.revision, config.image_size, progress)
    return config.model_copy(update={"encoder": str(folder), "revision": None})


STAGE = Stage(
    name="embed_frames",
    summary=__doc__,
    version=2,
    subjects=(DECODING,),
    config=EmbedFramesConfig,
    needs=("split",),
    makes=Frames,
    run=embed_frames,
    observe=observe,
    device="gpu",
    needs_weights=True,
    not_in_key=SHARD_OPTIONS | {"decode_workers", "decode_ahead_mib", "frames_at_once"},
    by_content=frozenset({"encoder", "revision"}),
    off=off,
    check=check,
    pending=pending,
    prepare=prepare,
    memory=memory_lines,
)
