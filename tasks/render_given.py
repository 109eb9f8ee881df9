"""What a render is given beside its text, and a name for it by content. No torch, and PyAV only to look at files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_spec import Clip, Latent
from ltx_core.errors import DataError
from ltx_core.files.digest import DigestMemo, text_digest
from ltx_core.media.buckets import is_too_small
from ltx_core.media.clip import sound_file
from ltx_core.sampling.request import Mode
from tasks.render_config import RenderValidationConfig
from tasks.render_release import picture_crf
from tasks.shared import Shared
from tasks.stage_run import StageRun


@dataclass(frozen=True)
class Given:
    """A held-out clip, or a file of one's own."""

    mode: Mode
    key: str
    """Digest of what is given."""
    clip: Clip | None = None
    file: Path | None = None
    start_seconds: float = 0.0
    """Where the sound begins, in the clip's file or in `file`."""

    @property
    def sound(self) -> Path | None:
        """The file whose sound the render keeps."""
        if self.mode != "s2v":
            return None
        return sound_file(self.clip) if self.clip else self.file


def given_clips(run: StageRun) -> Iterator[tuple[Given, Clip]]:
    """Held-out clips for each mode that takes one, in the order of their keys, which says nothing of their content."""
    config: RenderValidationConfig = run.config
    counts: dict[Mode, int] = {
        "i2v": config.image_to_video_clips,
        "s2v": config.sound_to_video_clips,
        "extend": config.extend_clips,
        "inpaint": config.inpaint_clips,
    }
    for mode, count in counts.items():
        for clip, latent in held_out(run, mode)[:count]:
            key = text_digest(latent.latent_key, *_part(mode, config, run.memo))
            yield Given(mode, key, clip=clip, start_seconds=clip.start_seconds), clip


def held_out(run: StageRun, mode: Mode) -> list[tuple[Clip, Latent]]:
    """Held-out clips that can condition a mode, by key."""
    clips: dict[str, Clip] = {clip.clip_id: clip for clip in run.inputs["split"]}
    rows: list[Latent] = [row for row in run.inputs["encode_latents"] if row.split == "eval"]
    if mode == "s2v":
        rows = [row for row in rows if row.has_audio_loss and clips[row.clip_id].audio != "silent"]
    if mode == "extend":
        rows = [row for row in rows if row.video_shape[1] > run.config.extend_latent_frames]
    return [(clips[row.clip_id], row) for row in sorted(rows, key=lambda row: row.clip_key)]


def _part(mode: Mode, config: RenderValidationConfig, memo: DigestMemo) -> tuple[str, ...]:
    """Which part of a clip is given, where it is not the mode alone that says it."""
    if mode == "extend":
        return mode, str(config.extend_latent_frames)
    if mode == "inpaint":
        mask = None if config.inpaint_mask is None else memo.get(config.inpaint_mask)
        return mode, mask or repr(config.inpaint_region)
    return (mode, *_strength(config)) if mode == "i2v" else (mode,)


def _strength(config: RenderValidationConfig) -> tuple[str, ...]:
    """How firmly a picture is kept, where that is not wholly."""
    return () if config.picture_strength == 1 else (f"strength {config.picture_strength!r}",)


def given_files(config: RenderValidationConfig, shared: Shared, memo: DigestMemo) -> Iterator[tuple[Given, Any]]:
    """Pictures and sounds of one's own, each with its entry in the configuration.

    Raises:
        DataError: a file is gone.
    """
    prompts = shared.prompts
    crf = picture_crf(config, shared) if prompts.pictures else 0
    compressed = (f"crf {crf}",) if crf else ()
    for picture in prompts.pictures:
        key = text_digest("picture", _digest(picture.picture, memo), *compressed, *_strength(config))
        yield Given("i2v", key, file=picture.picture), picture
    for sound in prompts.sounds:
        key = text_digest("sound", _digest(sound.sound, memo), f"{sound.start_seconds:.6f}")
        yield Given("s2v", key, file=sound.sound, start_seconds=sound.start_seconds), sound


def check_files(config: RenderValidationConfig, shared: Shared) -> None:
    """See that every picture opens and every sound is one; nothing is decoded.

    Raises:
        DataError: one is not; names it.
    """
    from ltx_core.media.picture import picture_size
    from ltx_core.media.sound import has_sound

    pictures = [entry.picture for entry in shared.prompts.pictures]
    for path in [*pictures, *([config.inpaint_mask] if config.inpaint_mask else [])]:
        picture_size(path)
    for entry in shared.prompts.sounds:
        if not has_sound(entry.sound):
            raise DataError(f"{entry.sound} has no sound; give an audio file or a video with sound to prompts.sounds")


def small_pictures(config: RenderValidationConfig, shared: Shared) -> Iterator[str]:
    """A notice for each picture that would be enlarged more than twice."""
    from ltx_core.media.picture import picture_size

    for entry in shared.prompts.pictures:
        if entry.picture.is_file() and is_too_small(
            *(size := picture_size(entry.picture)), (config.width, config.height)
        ):
            yield (
                f"prompts.pictures {entry.picture.name} is {size[0]}x{size[1]} and enlarged to cover {config.width}x"
                f"{config.height}: the render starts blurred"
            )


def _digest(path: Path, memo: DigestMemo) -> str:
    if not path.is_file():
        raise DataError(f"{path} is not there; it was given to prompts.pictures or prompts.sounds")
    return memo.get(path)
