"""Video and audio VAE latents for each clip, into WebDataset shards."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import chain
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from datasets_spec import Clip, Latent, QuarantineReason
from ltx_core.engine.plan import usable_bytes
from ltx_core.files.digest import DigestMemo, text_digest
from ltx_core.media.clip import clip_seconds, picture_key
from ltx_core.media.errors import MediaError
from ltx_core.pool.index import Entry
from ltx_core.shapes import audio_latent_frames
from tasks.device import planned_card
from tasks.encode_missing import Encoded, Refused, by_shape, encode_clips
from tasks.loading import loading
from tasks.shards import SHARD_OPTIONS, ShardConfig
from tasks.shared import Shared
from tasks.stage import Inputs, Observed, Outcome, Stage
from tasks.stage_run import StageRun
from tasks.subjects import AUTOENCODERS, DECODING
from tasks.train_memory import known_buckets
from tasks.vae_memory import encoding_line, vae_options
from tasks.weights import component_identities
from tasks.workspace import Workspace


class EncodeLatentsConfig(ShardConfig):
    """How clips are encoded."""

    dtype: str = Field(
        default="bf16", pattern="^(bf16|fp32)$", description="Precision of the video VAE; audio is fp32."
    )
    tile_size: int | None = Field(
        default=None,
        ge=64,
        le=4096,
        multiple_of=32,
        description="Pixel edge of square tiles for frames too large for the device. Changes latents: a tile does not "
        "see its neighbours. `memory.vae_chunk_frames` saves more and changes nothing; try that first.",
    )
    tile_overlap: int = Field(
        default=64, ge=32, le=1024, multiple_of=32, description="Pixels that neighbouring tiles share at least."
    )
    decode_workers: int | None = Field(
        default=None,
        ge=1,
        le=128,
        description="Processes that decode ahead of the VAE; default one a core, at most 16.",
    )
    decode_ahead_mib: int = Field(
        default=4096, ge=64, le=2**20, description="Host memory that decoded clips may take while they wait."
    )
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = Field(
        default="auto",
        description="Clips of equal shape encoded at once, to rounding the same. `auto`: several if they are small.",
    )
    compile: Literal["auto"] | bool = Field(
        default="auto",
        description="Compile the encoder; changes latents by rounding only. `auto`: on a GPU, for shapes with so many "
        "clips left (some 600 of 121x512x768) that it saves more than it costs.",
    )

    @model_validator(mode="after")
    def _tiles_are_larger(self) -> Self:
        if self.tile_size is not None and self.tile_overlap >= self.tile_size:
            raise ValueError(
                f"tiles of {self.tile_size} pixels cannot overlap by {self.tile_overlap}; make tile_size larger"
            )
        return self


NOT_IN_KEY = frozenset({"decode_workers", "decode_ahead_mib", "batch_size", "compile"})
"""Options that change latents by rounding at most."""


def encode_latents(run: StageRun) -> Outcome:
    """Encode what the pool lacks. Clips of equal content share latents, whatever file they come from."""
    vaes = _vae_key(run, run.memo)
    clips: list[Clip] = list(run.inputs["split"])
    keys = {clip.clip_id: text_digest(vaes, clip.clip_key) for clip in clips}
    folder = run.workspace.pool / "latents" / vaes[:16]
    return encode_clips(run, folder, keys, clips, partial(_encode, run), partial(_row, run=run), fits=_fits)


def _encode(
    run: StageRun, missing: Mapping[str, Clip], known: Mapping[str, Entry], refused: Refused
) -> Generator[Encoded, None, None]:
    """Latents of clips; those that differ in sound alone from one that is known get its picture's."""
    with loading():
        from tasks.clip_encoder import encoded, info, is_finite
        from tasks.sound_encoder import resounded

    pictures = {entry.info["picture"]: entry for entry in known.values() if "picture" in entry.info}
    ordered = by_shape(missing)
    seen = [(key, clip, pictures[picture_key(clip)]) for key, clip in ordered if picture_key(clip) in pictures]
    unseen = [(key, clip) for key, clip in ordered if picture_key(clip) not in pictures]
    with closing(resounded(seen, run, refused)) as again, closing(encoded(unseen, run, refused)) as anew:
        for key, tensors in chain(again, anew):
            if is_finite(tensors):
                yield Encoded(key, partial(dict, tensors), info(tensors) | {"picture": picture_key(missing[key])})
            else:
                refused[key] = MediaError(
                    QuarantineReason.NON_FINITE,
                    f"{missing[key].clip_id} encodes to NaN or infinity; look at the clip, or use fp32",
                )


def _fits(clip: Clip, entry: Entry) -> bool:
    """Whether a stored sample is as training wants it; a version that counted otherwise cut sounds at odd
    frame rates one token short."""
    wanted = audio_latent_frames(clip_seconds(clip)) if clip.has_sound else 0
    return not wanted or bool(entry.info["audio_tokens"] == wanted)


def _row(clip: Clip, entry: Entry, run: StageRun) -> Latent:
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
        audio_tokens=entry.info["audio_tokens"] if clip.has_sound else 0,
        has_audio_loss=clip.audio in ("voiced", "other") or (clip.audio == "silent" and _learns_silence(clip, run)),
        absent_sound=clip.absent_sound,
        sha256=entry.sha256,
        shard=run.workspace.relative(entry.shard),
        offset=entry.offset,
        size=entry.size,
    )


def _learns_silence(clip: Clip, run: StageRun) -> bool:
    return run.shared.dataset(clip.dataset).audio.silence == "train"


def _vae_key(run: StageRun, memo: DigestMemo) -> str:
    """Digest of everything but the clip that latents depend on; names the pool folder."""
    config: EncodeLatentsConfig = run.config
    identities: Sequence[str] = list(_identities(run.shared, memo).values())
    tiles = [f"tiles of {config.tile_size} over {config.tile_overlap}"] if config.tile_size else []
    return text_digest(*identities, config.dtype, run.version, *tiles)


def _identities(shared: Shared, memo: DigestMemo) -> dict[str, str]:
    return component_identities(shared.model, memo, "video_vae", "audio_vae")


def observe(_config: EncodeLatentsConfig, shared: Shared, memo: DigestMemo) -> Observed:
    """Both VAEs, and whose silence is trained on."""
    silence = sorted(dataset.id for dataset in shared.datasets if dataset.audio.silence == "train")
    return dict(_identities(shared, memo)) | ({"silence": silence} if silence else {})


def memory_lines(config: EncodeLatentsConfig, shared: Shared, inputs: Inputs, _workspace: Workspace) -> Sequence[str]:
    """What encoding the largest clips takes of the card that is planned for, and how they are cut.

    Raises:
        OutOfMemory: nothing exact fits.
    """
    gpu_gib = planned_card(shared.memory)
    if gpu_gib is None:
        return ()
    shapes = (bucket.shape.floored() for bucket in known_buckets(shared, inputs)[0])
    largest = max(shapes, key=lambda shape: shape.frames * shape.height * shape.width)
    options = vae_options(shared.memory, config.tile_size, config.tile_overlap)
    batch = None if config.batch_size == "auto" else config.batch_size
    line = encoding_line(shared, largest, config.dtype, usable_bytes(gpu_gib), options, batch)
    return (f"{gpu_gib:g} GiB card: {line}",)


STAGE = Stage(
    name="encode_latents",
    summary=__doc__,
    version=2,
    subjects=(DECODING, AUTOENCODERS),
    config=EncodeLatentsConfig,
    needs=("split",),
    makes=Latent,
    run=encode_latents,
    observe=observe,
    device="gpu",
    needs_weights=True,
    not_in_key=SHARD_OPTIONS | NOT_IN_KEY,
    memory=memory_lines,
)
