"""The base of rows, and the row types in the order of the stages that make them. Keys are hex digests of content, never
of row order.
"""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


class Record(BaseModel):
    """One row of a manifest.

    Fields made with `location` say where bytes lie (a path, a shard, an offset). They are stored and read back but
    are left out of the manifest's digest: the same results written in another order or to another disk are the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    KEY: ClassVar[str]
    """Name of the field that identifies a row; rows of a manifest are unique in it and sorted by it."""
    GROWS: ClassVar[bool] = False
    """True if its content is without those `ADDED` fields that say nothing, so that most rows are known as before there
    was such a thing."""

    @classmethod
    def is_location(cls, field: FieldInfo) -> bool:
        extra = field.json_schema_extra
        return isinstance(extra, dict) and extra.get("location") is True

    def content(self) -> dict[str, Any]:
        """The row without its locations, as JSON values; what the digest is taken over."""
        hidden = {name for name, field in type(self).model_fields.items() if self.is_location(field)}
        content = self.model_dump(mode="json", exclude=hidden)
        silent = {name for name, value in ADDED.items() if content.get(name) == value} if self.GROWS else ()
        return {name: value for name, value in content.items() if name not in silent}

    @property
    def key(self) -> str:
        return str(getattr(self, self.KEY))


def location(description: str, **constraints: Any) -> Any:
    """A field that says where something lies, not what it is."""
    return Field(description=description, json_schema_extra={"location": True}, **constraints)


Split = Literal["train", "eval"]
Scan = Literal["progressive", "interlaced_tff", "interlaced_bff", "telecined_tff", "telecined_bff"]
"""The scan of a frame: all lines at once, in two fields (the top or bottom one first), or film spread over fields."""
Colors = Literal["sdr", "wide", "pq", "hlg"]
"""The form in which colours are stored; `wide` is an SDR curve with more than BT.709's gamut, such as Display P3."""
Ground = Literal["black", "white"]
"""The colour that transparent footage is laid on."""
ReferenceKind = Literal["file", "edges", "gray", "low_resolution"]
"""A reference video of a file, or made of the clip itself."""
AudioKind = Literal["voiced", "other", "silent", "none", "broken"]


IMAGE_CONTAINERS = frozenset({"gif", "jpeg", "png", "webp"})


def is_still(container: str, num_frames: int) -> bool:
    """True of an image file without motion."""
    return num_frames == 1 and container in IMAGE_CONTAINERS


ADDED: dict[str, Any] = {
    "absent_sound": [],
    "variants": [],
    "caption_dropout": None,
    "is_mirrored": False,
    "ground": "black",
    "reference": None,
    "reference_key": None,
    "reference_path": None,
    "reference_downscale": 1,
    "reference_shape": [],
    "reference_stride": 1,
    "conditions": "",
    "has_mask": False,
    "audio_reference_key": None,
    "audio_reference_path": None,
    "audio_reference_tokens": 0,
    "keyframes": [],
}
"""Fields that rows did not have from the beginning, with what they mean where they are missing."""


def reference_numbers(num_frames: int, stride: int) -> list[int]:
    """Numbers of those of `num_frames` frames that a reference has: the first, then every so-many-th from the second
    on, so that each latent frame stands for equally many. Source: Lightricks' trainer."""
    return [0, *range(1, num_frames, stride)]


class Media(Record):
    """One readable file of footage, a video or an image, as `probe` found it."""

    KEY: ClassVar[str] = "media_id"
    GROWS: ClassVar[bool] = True

    media_id: str = Field(description="`dataset/relative path`: names the file in a run.")
    media_key: str = Field(description="SHA-256 of the file's bytes, 32 hex digits.")
    dataset: str = Field(description="Id of the dataset it belongs to.")
    relpath: str = Field(description="Path relative to the dataset's folder, with forward slashes.")
    path: str = Field(description="Absolute path.")
    caption: str = Field(description="The caption, exactly as it will be embedded.")
    variants: list[str] = Field(default=[], description="Further captions; each sample draws one of all.")
    container: str = Field(description="Container format as ffmpeg names it; of an image, its format.")
    video_codec: str = Field(description="Codec of the video stream, or the format of an image.")
    width: int = Field(
        ge=0, description="Displayed width in pixels, rotation and pixel aspect applied; 0 of audio alone."
    )
    height: int = Field(ge=0, description="Displayed height in pixels; 0 of audio alone.")
    rotation: int = Field(description="Clockwise degrees by which decoded frames are turned for display.")
    num_frames: int = Field(
        ge=1, description="Frames in the video stream; of audio alone, those of a video of its length."
    )
    duration_seconds: float = Field(
        gt=0, description="From the first frame's time to the last frame's end; of audio alone, its end."
    )
    frame_rate: float = Field(gt=0, description="Mean frames per second; 1 of an image.")
    is_variable_rate: bool = Field(description="Whether frame intervals differ by more than rounding.")
    usual_rate: float = Field(
        gt=0, description="Frames per second at the usual interval, pauses left out; of telecined film, the film's."
    )
    scan: Scan = Field(description="Scan of the frames, as measured. Interlaced and telecined footage is deinterlaced.")
    colors: Colors = Field(description="What its colours are stored as; all but `sdr` are mapped to BT.709.")
    has_alpha: bool = Field(description="Whether anything in it is transparent, and is laid on black.")
    audio_codec: str | None = Field(description="Codec of the audio stream, if there is one.")
    audio_channels: int = Field(ge=0, description="Channels of the audio stream; 0 without one.")
    audio_rate: int = Field(ge=0, description="Samples per second; 0 without an audio stream.")
    sound_key: str | None = Field(default=None, description="SHA-256 of the audio file beside it, if there is one.")
    sound_path: str | None = Field(default=None, description="Absolute path of that audio file.")
    mask_key: str | None = Field(default=None, description="SHA-256 of its mask's file, if there is one.")
    mask_path: str | None = Field(default=None, description="Absolute path of that mask.")
    audio_reference_key: str | None = Field(default=None, description="SHA-256 of the audio that it follows, if any.")
    audio_reference_path: str | None = Field(default=None, description="Absolute path of that audio file.")
    reference_key: str | None = Field(default=None, description="SHA-256 of its reference's file, if there is one.")
    reference_path: str | None = Field(default=None, description="Absolute path of that reference.")

    @property
    def captions(self) -> tuple[str, ...]:
        """All captions of it, of which each sample draws one."""
        return self.caption, *self.variants

    @property
    def is_image(self) -> bool:
        """True of an image that does not move: it gives one clip of one frame, whatever length is asked for."""
        return is_still(self.container, self.num_frames)

    def content(self) -> dict[str, Any]:
        """As of every row; where files beside it lie counts like its own path, and not at all without such files."""
        without = {name for name in ("sound_path", "mask_path") if getattr(self, name) is None}
        return {name: value for name, value in super().content().items() if name not in without}


class Clip(Record):
    """One span of one file, with everything that fixes its pixels and samples."""

    KEY: ClassVar[str] = "clip_id"
    GROWS: ClassVar[bool] = True

    clip_id: str = Field(description="`media_id@start-milliseconds`: names the clip in a run.")
    clip_key: str = Field(description="Digest of media bytes, span, rate, size and crop.")
    media_id: str = Field(description="The file it is cut from.")
    media_key: str = Field(description="SHA-256 of that file's bytes.")
    dataset: str = Field(description="Id of the dataset.")
    path: str = location("Absolute path of the file.")
    sound_key: str | None = Field(default=None, description="SHA-256 of the file that its audio is cut from instead.")
    sound_path: str | None = location("Absolute path of that audio file.", default=None)
    mask_key: str | None = Field(default=None, description="SHA-256 of the file that says where it is trained on.")
    mask_path: str | None = location("Absolute path of that mask.", default=None)
    audio_reference_key: str | None = Field(default=None, description="SHA-256 of the audio that it follows, if any.")
    audio_reference_path: str | None = location("Absolute path of that audio file.", default=None)
    reference: ReferenceKind | None = Field(
        default=None, description="Its reference video: from a file, or how it is made of the clip; none."
    )
    reference_downscale: int = Field(default=1, ge=1, description="By how much the reference's edges are shorter.")
    reference_stride: int = Field(default=1, ge=1, description="Frames of the clip for one of its reference.")
    keyframes: list[int] = Field(default=[], description="Numbers of the frames that are also encoded as images.")
    reference_key: str | None = Field(default=None, description="SHA-256 of the reference's file, if it is one.")
    reference_path: str | None = location("Absolute path of that file.", default=None)
    caption: str = Field(description="The caption.")
    variants: list[str] = Field(default=[], description="Further captions; each sample draws one of all.")
    start_seconds: float = Field(ge=0, description="Start, counted from the file's first frame.")
    frame_rate: float = Field(gt=0, description="Frames per second of the clip: its file's own, or resampled.")
    phase_seconds: float = Field(
        default=0.0,
        ge=0,
        description="How long after its interval begins each frame is taken: with `frame_rate: native`, in the middle "
        "of a frame's time on screen, so that uneven times repeat and drop none.",
    )
    scan: Scan = Field(default="progressive", description="As its file's.")
    ground: Ground = Field(default="black", description="Colour that transparent parts are laid on.")
    is_mirrored: bool = Field(default=False, description="True if left and right are exchanged, audio included.")
    num_frames: int = Field(ge=1, description="8k+1 frames.")
    width: int = Field(ge=0, description="Width in pixels, a multiple of 32; 0 of audio alone.")
    height: int = Field(ge=0, description="Height in pixels, a multiple of 32; 0 of audio alone.")
    bucket: str = Field(description="`WxH@F`; a batch never mixes buckets.")
    audio: AudioKind = Field(
        description="What is heard in the span; absence carries no audio loss, and silence none unless asked to."
    )
    absent_sound: list[int] = Field(
        default=[], description="Audio latent frames at which the audio is missing; they have no loss."
    )
    audio_channels: int = Field(ge=0, le=2, description="1: down-mix, then duplicate. 2: stereo. 0: no audio wanted.")
    split: Split = Field(description="Held out for the eval loss or trained on; the same for all clips of a file.")
    repeats: int = Field(ge=1, description="Samples in an epoch.")
    sharpness: float = Field(description="Variance of the Laplacian of luma in [0,1], mean over frames.")
    motion: float = Field(description="Mean absolute luma difference between frames, in [0,1].")
    black_fraction: float = Field(description="Fraction of frames with mean luma under 0.03.")
    frozen_fraction: float = Field(description="Fraction of frames equal to the one before.")
    loudness_db: float = Field(description="RMS level of the audio in dBFS; -120 for none.")
    perceptual_hash: str = Field(description="64-bit difference hash of the middle frame, 16 hex digits.")

    @property
    def captions(self) -> tuple[str, ...]:
        """All captions of it, of which each sample draws one."""
        return self.caption, *self.variants

    @property
    def reference_size(self) -> tuple[int, int]:
        """Width and height of its reference in pixels."""
        return self.width // self.reference_downscale, self.height // self.reference_downscale

    @property
    def reference_numbers(self) -> list[int]:
        """Numbers of the clip's frames that its reference has."""
        return reference_numbers(self.num_frames, self.reference_stride)

    @property
    def has_video(self) -> bool:
        """False of audio alone."""
        return self.width > 0

    @property
    def has_sound(self) -> bool:
        """True if there is audio to encode: silence is, what is broken is not."""
        return self.audio in ("voiced", "other", "silent")

    @property
    def is_heard(self) -> bool:
        """True if there is something to hear in its audio."""
        return self.audio in ("voiced", "other")

    def teaches_audio(self, silence: str) -> bool:
        """True if its audio is trained on, in a dataset with this value of `audio.silence`."""
        return self.is_heard or (self.audio == "silent" and silence == "train")


class Caption(Record):
    """The caption of a clip whose file has none."""

    KEY: ClassVar[str] = "clip_id"

    clip_id: str = Field(description="The clip.")
    caption: str = Field(description="The caption, exactly as it will be embedded.")
    variants: list[str] = Field(default=[], description="Further captions; each sample draws one of all.")
    text: str = Field(description="The text as it stands in the file, of which captions are made.")
    text_file: str = Field(description="File of that text, relative to the workspace.")
    author: Literal["model", "person"] = Field(description="Writer of the text. What a person wrote is kept.")
    is_cut: bool = Field(default=False, description="True if the model's answer was longer than it may be.")


class Text(Record):
    """One distinct caption or prompt, embedded."""

    KEY: ClassVar[str] = "text_key"

    text_key: str = Field(description="Digest of the exact text, encoder, tokenizer, projection, feature version.")
    text: str = Field(description="The text itself.")
    num_tokens: int = Field(ge=1, description="Valid tokens stored; padding is not.")
    sha256: str = Field(description="Digest of the stored sample.")
    shard: str = location("Shard file, relative to the workspace.")
    offset: int = location("Byte offset of the sample in the shard.", ge=0)
    size: int = location("Bytes of the sample.", ge=1)


class Latent(Record):
    """One clip, encoded, with all that training needs to know of it."""

    KEY: ClassVar[str] = "clip_id"
    GROWS: ClassVar[bool] = True

    clip_id: str = Field(description="The clip.")
    clip_key: str = Field(description="Content key of the clip.")
    latent_key: str = Field(description="Digest of clip key, VAE identities and encode options.")
    caption: str = Field(description="The caption; its embedding is found by this text.")
    variants: list[str] = Field(default=[], description="Further captions; each sample draws one of all.")
    caption_dropout: float | None = Field(
        default=None, description="Fraction of its samples without a caption; none: as the training says."
    )
    bucket: str = Field(description="`WxH@F`.")
    split: Split = Field(description="`train` or `eval`.")
    repeats: int = Field(ge=1, description="Samples in an epoch.")
    frame_rate: float = Field(gt=0, description="Frames per second; positions depend on it.")
    video_shape: list[int] = Field(description="[C, F, H, W] of the video latent.")
    reference_shape: list[int] = Field(default=[], description="[C, F, H, W] of its reference's latent; empty: none.")
    audio_reference_tokens: int = Field(
        default=0, ge=0, description="Audio latent frames of the audio that it follows."
    )
    keyframes: list[int] = Field(default=[], description="Numbers of the frames that are stored as images too.")
    has_mask: bool = Field(default=False, description="True if a mask says where it is trained on.")
    audio_tokens: int = Field(ge=0, description="Audio latent frames stored; 0 without audio.")
    has_audio_loss: bool = Field(
        description="True if the audio is trained on: voiced or other; silence only if asked for."
    )
    absent_sound: list[int] = Field(
        default=[], description="Audio latent frames at which the audio is missing; they have no loss."
    )
    sha256: str = Field(description="Digest of the stored sample.")
    shard: str = location("Shard file, relative to the workspace.")
    offset: int = location("Byte offset of the sample in the shard.", ge=0)
    size: int = location("Bytes of the sample.", ge=1)

    @property
    def captions(self) -> tuple[str, ...]:
        """All captions of it, of which each sample draws one."""
        return self.caption, *self.variants

    @property
    def has_video(self) -> bool:
        """False of audio alone, whose latent has frames and no places in them."""
        return self.video_shape[2] > 0

    @property
    def has_sound(self) -> bool:
        """True if audio is stored; without, the clip is trained as video alone."""
        return self.audio_tokens > 0


class Frames(Record):
    """Features of one clip's frames, for training with CREPA."""

    KEY: ClassVar[str] = "clip_id"

    clip_id: str = Field(description="The clip.")
    clip_key: str = Field(description="Content key of the clip.")
    feature_key: str = Field(
        description="Digest of the clip's video key, encoder, image size, dtype and feature version."
    )
    shape: list[int] = Field(description="[F, H, W, D]: latent frames, rows and columns, and the encoder's width.")
    sha256: str = Field(description="Digest of the stored sample.")
    shard: str = location("Shard file, relative to the workspace.")
    offset: int = location("Byte offset of the sample in the shard.", ge=0)
    size: int = location("Bytes of the sample.", ge=1)


class Checkpoint(Record):
    """A trained LoRA."""

    KEY: ClassVar[str] = "name"

    name: str = Field(description="`final`, or `step-000100`.")
    step: int = Field(ge=0, description="Optimizer steps taken.")
    eval_loss: float | None = Field(description="Eval loss at that step, if there is an eval split.")
    base_eval_loss: float | None = Field(description="Eval loss of the base model on the same clips, noise and sigmas.")
    sha256: str = Field(description="Digest of the LoRA file.")
    file: str = location("The LoRA file, relative to the workspace.")


class Render(Record):
    """One rendered validation video."""

    KEY: ClassVar[str] = "render_key"
    GROWS: ClassVar[bool] = True

    render_key: str = Field(description="Digest of weights, LoRA, prompt, seed and settings.")
    variant: Literal["base", "candidate"] = Field(description="Which weights made it.")
    mode: Literal["t2v", "t2a", "i2v", "s2v", "v2a", "extend", "inpaint", "reference", "composed"] = Field(
        description="Conditioning beside the text: none, a first frame, audio, a whole video, a prefix, a part of the "
        "frames, or a control video."
    )
    conditions: str = Field(default="", description="With `composed`: what is kept.")
    adapters: str = Field(default="", description="Name of the run of published adapters; empty without.")
    clip_id: str | None = Field(description="The held-out clip that gives it.")
    given_file: str | None = location("Image, audio or video file that it comes from.", default=None)
    control: str | None = location("Control video that it follows, relative to the workspace.", default=None)
    given_start_seconds: float = Field(default=0.0, ge=0, description="Start of the audio or video in its file.")
    prompt: str = Field(description="The prompt.")
    seed: int = Field(description="The seed; the same for every variant.")
    num_frames: int = Field(ge=1, description="Frames.")
    width: int = Field(ge=32, description="Pixels.")
    height: int = Field(ge=32, description="Pixels.")
    frame_rate: float = Field(gt=0, description="Frames per second.")
    audio_rate: int = Field(ge=0, description="Samples per second; 0 without audio.")
    sharpness: float = Field(description="Variance of the Laplacian of luma, mean over frames.")
    motion: float = Field(description="Mean absolute luma difference between frames.")
    loudness_db: float = Field(description="RMS level in dBFS.")
    difference_from_base: float = Field(description="Mean absolute pixel difference from the base render, in [0,1].")
    clip_score: float | None = Field(
        default=None, description="100 max(cos(frame, prompt), 0) of a CLIP model, mean over frames; none if not asked."
    )
    sha256: str = Field(description="Digest of the mp4.")
    file: str = location("The mp4 file, relative to the workspace.")


class Registered(Record):
    """A LoRA in the model registry."""

    KEY: ClassVar[str] = "sha256"

    sha256: str = Field(description="Digest of the LoRA file.")
    model_name: str = Field(description="Registered model.")
    version: int = Field(ge=1, description="Version in the registry.")
    alias: str = Field(description="`champion` or `candidate`.")
    run_id: str = location("MLflow run that holds the file.")


class Published(Record):
    """One file that was uploaded to a repository of the hub, or with a dry run would be."""

    KEY: ClassVar[str] = "name"

    name: str = Field(description="Path in the repository.")
    sha256: str = Field(description="Digest of the file.")
    size: int = Field(description="Bytes.", ge=0)
    repository: str = Field(description="The repository.")
    commit: str | None = location("The commit that has it; none of a dry run.")
