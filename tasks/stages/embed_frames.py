"""Compute a vision encoder's features for the frames of training clips; left out unless training uses them."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from datasets_spec import Clip, Frames
from ltx_core.errors import CheckpointError
from ltx_core.hub.repository import is_repository
from ltx_core.io.digest import text_digest
from ltx_core.media.clip import image_key, latent_clip
from ltx_core.memory.encoders import frame_encoder_memory
from ltx_core.memory.plan import GIB
from ltx_core.progress import Progress
from ltx_core.store.shards import Entry
from ltx_core.vision.folder import FILES, StoredEncoder, check_image_size, encoder_identity, open_encoder
from tasks.runtime.device import loading, planned_card
from tasks.runtime.stage import DECODING, Observed, Outcome, Sections, Stage, StageRun
from tasks.stages.parts.encode_missing import (
    ClipShardConfig,
    EncodedItem,
    Refused,
    by_shape,
    encode_missing_clips,
    non_finite,
    stored_at,
)

if TYPE_CHECKING:
    from ltx_core.hub.repository import PendingFile, Repository


BELOW = ["*/*"]
"""Folders of a repository are left."""


def check_encoder(location: str, image_size: int) -> None:
    """See, without the network, that an encoder which lies here is one and takes pictures of that size.

    Raises:
        CheckpointError: it does not, or the location leads nowhere.
        ConfigError: the size is no multiple of its patches.
    """
    if _folder(location).exists():
        check_image_size(opened_encoder(location), image_size)
    else:
        _check_repository(location)


def pending_encoder(location: str, revision: str | None) -> "tuple[PendingFile, ...]":
    """Return the files that `fetch_encoder` would download.

    Raises:
        CheckpointError, TransientError: there is no such folder or repository.
    """
    if _folder(location).exists():
        return ()
    from ltx_core.hub.fetch import pending_folder

    return pending_folder(_repository(location, revision), FILES, BELOW)


def fetch_encoder(location: str, revision: str | None, image_size: int, progress: Progress) -> Path:
    """The encoder's folder on this machine, downloaded if need be, and seen to take pictures of that size.

    Raises:
        CheckpointError, TransientError, StorageError: it is not there, cannot be fetched, or is another kind of model.
        ConfigError: the size is no multiple of its patches.
    """
    folder = _folder(location)
    if not folder.exists():
        from ltx_core.hub.fetch import fetch_folder, reporting_bar

        folder = fetch_folder(_repository(location, revision), FILES, BELOW, reporting_bar(progress))
    check_image_size(open_encoder(folder), image_size)
    return folder


def opened_encoder(location: str) -> StoredEncoder:
    """Return the encoder that `fetch_encoder` has found, by its folder.

    Raises:
        CheckpointError: it is gone.
    """
    return open_encoder(_folder(location))


def _folder(location: str) -> Path:
    return Path(location).expanduser()


def _repository(location: str, revision: str | None) -> "Repository":
    from ltx_core.hub.repository import Repository

    _check_repository(location)
    return Repository(location, revision)


def _check_repository(location: str) -> None:
    if not is_repository(location):
        raise CheckpointError(
            f"embed_frames.encoder {location} is not there; set it to a transformers folder of DINOv2, or to a "
            f"repository on the hub such as facebook/dinov2-giant"
        )


DECIDES = ("encoder", "revision", "image_size", "dtype")
"""Options that decide features."""


class EmbedFramesConfig(ClipShardConfig):
    """Options for embedding frames."""

    LOCATIONS = ("encoder",)

    encoder: str = Field(
        default="facebook/dinov2-giant",
        min_length=1,
        description="DINOv2 in transformers' layout: a folder, or a repository on the hub such as "
        "`facebook/dinov2-small`, `-base`, `-large` or `-giant`.",
    )
    revision: str | None = Field(default=None, description="Branch, tag or commit of the repository. Default: `main`.")
    image_size: int = Field(
        default=518,
        ge=14,
        le=2048,
        description="Edge of the square that frames are resized to for the encoder, in pixels. A multiple of its "
        "patch size of 14.",
    )
    dtype: str = Field(default="bf16", pattern="^(bf16|fp32)$", description="Precision of the encoder.")
    frames_at_once: int = Field(
        default=16,
        ge=1,
        le=1024,
        description="Largest number of frames of a clip that are computed at once. It changes features only by "
        "rounding.",
    )

    def named(self) -> list[str]:
        """Options that decide features and are not at their defaults."""
        return [name for name in DECIDES if getattr(self, name) != type(self).model_fields[name].default]


class EmbedFrames(Stage[EmbedFramesConfig, Frames]):
    """Embeds what the store lacks. Clips of equal pictures share features; held-out clips need none."""

    name = "embed_frames"
    items = "frames/*/*.tar"
    config = EmbedFramesConfig
    needs = ("split",)
    makes = Frames
    version = 2
    subjects = (DECODING,)
    device = "gpu"
    imports = ("torch", "ltx_core.vision.dinov2", "tasks.stages.parts.clip_encoder")
    needs_weights = True
    not_in_key = frozenset(ClipShardConfig.model_fields) | {"frames_at_once"}
    by_content = frozenset({"encoder", "revision"})

    def off_reason(self, sections: Sections) -> str | None:
        """Why nobody reads features, if so."""
        return "train_lora.crepa is not set" if sections("train_lora").crepa is None else None

    def check(self, run: StageRun[EmbedFramesConfig]) -> None:
        """An encoder that lies here is one.

        Raises:
            LtxError: it is not, or the location leads nowhere.
        """
        check_encoder(run.config.encoder, run.config.image_size)

    def downloads(self, run: StageRun[EmbedFramesConfig]) -> "Sequence[PendingFile]":
        """The encoder, if it is not here."""
        return pending_encoder(run.config.encoder, run.config.revision)

    def prepare(self, run: StageRun[EmbedFramesConfig]) -> EmbedFramesConfig:
        """Download the encoder and see that it is one; afterwards it is named by its folder."""
        config = run.config
        folder = fetch_encoder(config.encoder, config.revision, config.image_size, run.progress)
        return config.model_copy(update={"encoder": str(folder), "revision": None})

    def observe(self, run: StageRun[EmbedFramesConfig]) -> Observed:
        """The encoder."""
        return {"encoder": _identity(run)}

    def memory(self, run: StageRun[EmbedFramesConfig]) -> Sequence[str]:
        """By arithmetic: weights, and one layer's work on the frames that are computed at once."""
        config, gpu_gib = run.config, planned_card(run.shared.memory)
        if gpu_gib is None:
            return ()
        encoder = opened_encoder(config.encoder)
        item_bytes = 4 if config.dtype == "fp32" else 2
        tokens = config.frames_at_once * ((config.image_size // encoder.patch_size) ** 2 + 1)
        memory = frame_encoder_memory(encoder.num_weights, encoder.width, num_tokens=tokens, item_bytes=item_bytes)
        needed = memory.needed_bytes / GIB
        fits = "it fits" if needed < gpu_gib else "it does not fit; lower embed_frames.frames_at_once"
        return (f"{gpu_gib:g} GiB card: the frame encoder takes about {needed:.1f} GiB; {fits}",)

    def run(self, run: StageRun[EmbedFramesConfig]) -> Outcome:
        """Features of each clip that is trained on."""
        encoder = text_digest(_identity(run), str(run.config.image_size), run.config.dtype, run.version)
        clips: list[Clip] = [clip for clip in run.inputs["split"] if clip.split == "train"]
        keys = {clip.clip_id: text_digest(encoder, image_key(clip)) for clip in clips}
        folder = run.workspace.pool / "frames" / encoder[:16]
        return encode_missing_clips(run, folder, keys, clips, partial(_embed, run), partial(_row, run=run))


def _identity(run: StageRun[EmbedFramesConfig]) -> str:
    found = encoder_identity(opened_encoder(run.config.encoder), run.memo)
    run.memo.save()
    return found


def _embed(
    run: StageRun[EmbedFramesConfig], missing: Mapping[str, Clip], _stored: Mapping[str, Entry], refused: Refused
) -> Generator[EncodedItem, None, None]:
    with loading():
        from ltx_core.vision.dinov2 import embed_clips
        from tasks.stages.parts.clip_encoder import decoded_clips

    encoder = _loaded(run)
    with closing(decoded_clips(by_shape(missing), run, refused, latent_clip)) as decoded:
        for clip, features in embed_clips(decoded, encoder):
            if bool(features.isfinite().all()):
                yield EncodedItem(clip.key, partial(dict, {"features": features}), {"shape": list(features.shape)})
            else:
                refused[clip.key] = non_finite(f"{missing[clip.key].clip_id} has features of")


def _loaded(run: StageRun[EmbedFramesConfig]) -> Any:
    with loading():
        from ltx_core.vision.dinov2 import load_frame_encoder
        from tasks.runtime.device import prepare_device, torch_dtype

    encoder = load_frame_encoder(
        opened_encoder(run.config.encoder),
        image_size=run.config.image_size,
        frames_at_once=run.config.frames_at_once,
        device=prepare_device(run.shared.memory),
        dtype=torch_dtype(run.config.dtype),
    )
    run.memo.check()
    return encoder


def _row(clip: Clip, entry: Entry, run: StageRun[EmbedFramesConfig]) -> Frames:
    return Frames(
        clip_id=clip.clip_id,
        clip_key=clip.clip_key,
        feature_key=entry.key,
        shape=entry.info["shape"],
        **stored_at(entry, run),
    )
