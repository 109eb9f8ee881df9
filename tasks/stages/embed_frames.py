"""Compute a vision encoder's features for the frames of training clips; left out unless training uses them."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from datasets_spec import Clip, Frames
from ltx_core.hub.repository import Repository, fetched_model, model_place, pending_of_model
from ltx_core.io.digest import text_digest
from ltx_core.media.clip import image_key, latent_clip
from ltx_core.memory.encoders import frame_encoder_memory
from ltx_core.memory.plan import GIB
from ltx_core.store.shards import Entry
from ltx_core.vision.folder import BELOW, FILES, StoredEncoder, check_image_size, open_encoder
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
    from ltx_core.hub.repository import PendingFile


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
    """Embeds what the store lacks. Clips of equal frames share features; held-out clips need none."""

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
        if isinstance(place := encoder_place(run.config), Path):
            check_image_size(open_encoder(place), run.config.image_size)

    def downloads(self, run: StageRun[EmbedFramesConfig]) -> "Sequence[PendingFile]":
        """The encoder, if it is not here."""
        return pending_of_model(encoder_place(run.config), FILES, BELOW)

    def prepare(self, run: StageRun[EmbedFramesConfig]) -> EmbedFramesConfig:
        """Download the encoder and see that it is one; afterwards it is named by its folder."""
        folder = fetched_model(encoder_place(run.config), FILES, BELOW, run.progress)
        check_image_size(open_encoder(folder), run.config.image_size)
        return run.config.model_copy(update={"encoder": str(folder), "revision": None})

    def observe(self, run: StageRun[EmbedFramesConfig]) -> Observed:
        """The encoder."""
        return {"encoder": _identity(run)}

    def memory(self, run: StageRun[EmbedFramesConfig]) -> Sequence[str]:
        """By arithmetic: weights, and one layer's work on the frames that are computed at once."""
        config, gpu_gib = run.config, planned_card(run.shared.memory)
        if gpu_gib is None:
            return ()
        encoder = _opened(config)
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
        folder = run.workspace.store / "frames" / encoder[:16]
        return encode_missing_clips(run, folder, keys, clips, partial(_embed, run), partial(_row, run=run))


def encoder_place(config: EmbedFramesConfig) -> Path | Repository:
    """The encoder's folder, or the repository that has it.

    Raises:
        CheckpointError: the location leads nowhere.
    """
    wanted = "a transformers folder of DINOv2, or to a repository on the hub such as facebook/dinov2-giant"
    return model_place("embed_frames.encoder", config.encoder, config.revision, wanted)


def _opened(config: EmbedFramesConfig) -> StoredEncoder:
    """The encoder in the folder that `prepare` has found."""
    return open_encoder(Path(config.encoder).expanduser())


def _identity(run: StageRun[EmbedFramesConfig]) -> str:
    found = run.memo.of_model(_opened(run.config).files)
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
        _opened(run.config),
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
