"""Encode each clip with the video and audio VAE, and write the latents into WebDataset shards."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import chain

from datasets_spec import Clip, Latent
from ltx_core.io.digest import text_digest
from ltx_core.media.clip import clip_seconds, video_key
from ltx_core.memory.plan import usable_bytes
from ltx_core.shapes import audio_latent_frames
from ltx_core.store.shards import Entry
from tasks.runtime.device import loading, planned_card
from tasks.runtime.stage import AUTOENCODERS, DECODING, Observed, Outcome, Stage, StageRun
from tasks.runtime.weights import component_identities
from tasks.stages.parts.caption_texts import captioned
from tasks.stages.parts.encode_missing import (
    ClipShardConfig,
    EncodedItem,
    EncodeLatentsConfig,
    Refused,
    by_shape,
    encode_missing_clips,
    non_finite,
    stored_at,
)
from tasks.stages.parts.memory import encoding_line, known_buckets, vae_options


class EncodeLatents(Stage[EncodeLatentsConfig, Latent]):
    """Encodes what the store lacks. Clips of equal content share latents, whatever file they come from."""

    name = "encode_latents"
    items = "latents/*/*.tar"
    config = EncodeLatentsConfig
    needs = ("split",)
    uses = ("caption",)
    makes = Latent
    version = 2
    subjects = (DECODING, AUTOENCODERS)
    device = "gpu"
    imports = ("torch", "tasks.stages.parts.clip_encoder")
    needs_weights = True
    not_in_key = frozenset(ClipShardConfig.model_fields) | {
        "batch_size",
        "compile",
    }  # these change no more than rounding

    def observe(self, run: StageRun[EncodeLatentsConfig]) -> Observed:
        """Both VAEs, whose silence is trained on, and whose captions are dropped how often."""
        silence = sorted(dataset.id for dataset in run.shared.datasets if dataset.audio.silence == "train")
        dropout = {one.id: one.captions.dropout for one in run.shared.datasets if one.captions.dropout is not None}
        own = {"silence": silence, "caption_dropout": dropout}
        return _vaes(run) | {name: value for name, value in own.items() if value}

    def memory(self, run: StageRun[EncodeLatentsConfig]) -> Sequence[str]:
        """Memory that the largest clips take of the GPU that is planned for, and how they are cut."""
        config, shared, gpu_gib = run.config, run.shared, planned_card(run.shared.memory)
        if gpu_gib is None:
            return ()
        shapes = (bucket.shape.floored() for bucket in known_buckets(shared, run.inputs)[0])
        largest = max(shapes, key=lambda shape: shape.frames * shape.height * shape.width)
        options = vae_options(shared.memory, config.tile_size, config.tile_overlap)
        batch = None if config.batch_size == "auto" else config.batch_size
        line = encoding_line(shared, largest, config.dtype, usable_bytes(gpu_gib), options, batch)
        return (f"{gpu_gib:g} GiB card: {line}",)

    def run(self, run: StageRun[EncodeLatentsConfig]) -> Outcome:
        """The latents of each clip."""
        config = run.config
        tiles = [f"tiles of {config.tile_size} over {config.tile_overlap}"] if config.tile_size else []
        vaes = text_digest(*_vaes(run).values(), config.dtype, run.version, *tiles)
        clips = captioned(run.inputs)
        keys = {clip.clip_id: text_digest(vaes, clip.clip_key) for clip in clips}
        folder = run.workspace.store / "latents" / vaes[:16]
        return encode_missing_clips(run, folder, keys, clips, partial(_encode, run), partial(_row, run=run), fits=_fits)


def _vaes(run: StageRun[EncodeLatentsConfig]) -> dict[str, str]:
    """Digests of their weights."""
    return component_identities(run.shared.model, run.memo, "video_vae", "audio_vae")


def _encode(
    run: StageRun[EncodeLatentsConfig], missing: Mapping[str, Clip], stored: Mapping[str, Entry], refused: Refused
) -> Generator[EncodedItem, None, None]:
    """Latents of clips; those that differ in audio alone from one that is stored get its video's."""
    with loading():
        from tasks.stages.parts.clip_encoder import encode_unseen, info, is_finite, with_other_audio_rows

    clips = dict(missing)
    alone = [(key, clip, None) for key, clip in by_shape(missing) if not clip.has_video]
    missing = {key: clip for key, clip in missing.items() if clip.has_video}
    videos = {entry.info["picture"]: entry for entry in stored.values() if "picture" in entry.info}
    ordered = by_shape(missing)
    seen = [(key, clip, videos[video_key(clip)]) for key, clip in ordered if video_key(clip) in videos]
    unseen = [(key, clip) for key, clip in ordered if video_key(clip) not in videos]
    with (
        closing(with_other_audio_rows([*alone, *seen], run, refused)) as again,
        closing(encode_unseen(unseen, run, refused)) as anew,
    ):
        for key, tensors in chain(again, anew):
            if is_finite(tensors):
                yield EncodedItem(key, partial(dict, tensors), info(tensors) | {"picture": video_key(clips[key])})
            else:
                refused[key] = non_finite(f"{clips[key].clip_id} encodes to")


def _fits(clip: Clip, entry: Entry) -> bool:
    """True if a stored item is as training wants it; a version that counted otherwise cut audio at odd
    frame rates one token short."""
    wanted = audio_latent_frames(clip_seconds(clip)) if clip.has_sound else 0
    return not wanted or bool(entry.info["audio_tokens"] == wanted)


def _row(clip: Clip, entry: Entry, run: StageRun[EncodeLatentsConfig]) -> Latent:
    dataset = run.shared.dataset(clip.dataset)
    return Latent(
        clip_id=clip.clip_id,
        clip_key=clip.clip_key,
        latent_key=entry.key,
        caption=clip.caption,
        variants=clip.variants,
        caption_dropout=dataset.captions.dropout,
        bucket=clip.bucket,
        split=clip.split,
        repeats=clip.repeats,
        frame_rate=clip.frame_rate,
        video_shape=entry.info["video_shape"],
        reference_shape=entry.info.get("reference_shape", []),
        has_mask=clip.mask_key is not None,
        audio_reference_tokens=entry.info.get("audio_reference_tokens", 0),
        keyframes=clip.keyframes,
        audio_tokens=entry.info["audio_tokens"] if clip.has_sound else 0,
        has_audio_loss=clip.teaches_audio(dataset.audio.silence),
        absent_sound=clip.absent_sound,
        **stored_at(entry, run),
    )
