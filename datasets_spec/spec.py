"""Options of a folder of footage: the keys of the guide's `multidatabackend.json`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from datasets_spec.options import ConfigModel

FrameRate = Annotated[float, Field(gt=0, le=240)]
FrameCount = Annotated[int, Field(ge=1)]
Resolution = Annotated[float, Field(gt=0)]


class VideoSpec(ConfigModel):
    """Options for taking frames from a video. The VAE takes 8k+1 frames; other counts are floored with a warning."""

    num_frames: FrameCount | Annotated[tuple[FrameCount, ...], Field(min_length=1, max_length=16)] = Field(
        default=121,
        description="Frames of a clip, rounded down to 8k+1. Of several numbers, each clip has the "
        "largest that fits into what is left of its scene. An image has one frame.",
    )
    min_frames: int | None = Field(
        default=None, ge=1, description="Shortest usable length, in frames at `frame_rate`. Default: `num_frames`."
    )
    max_frames: int | None = Field(
        default=None, ge=1, description="Longest usable file, in frames at `frame_rate`. Default: no limit."
    )
    frame_rate: Literal["native"] | FrameRate = Field(
        default="native",
        description="`native`: clips keep the frame rate of their file. Above 30, it is divided by the smallest "
        "whole number that brings it to 30 or below, such as 25 for 50 and 29.97 for 59.94. A number: "
        "clips are resampled to it by presentation time, which repeats or drops frames.",
    )
    frame_stride: int = Field(
        default=1,
        ge=1,
        le=16,
        exclude_if=lambda value: value == 1,  # so that keys of datasets without it stay what they were
        description="With `frame_rate: native`, take only every nth frame. A clip then lasts n times as long, with its "
        "true, lower frame rate.",
    )
    bucket_strategy: Literal["aspect_ratio", "resolution_frames"] = Field(
        default="aspect_ratio",
        description="`aspect_ratio`: all clips have `num_frames`. `resolution_frames`: a clip keeps its own length.",
    )
    frame_interval: int = Field(
        default=8,
        ge=1,
        description="With `resolution_frames`, lengths are rounded down to a multiple of this, plus one.",
    )
    hdr: Literal["map", "quarantine"] = Field(
        default="map",
        description="Footage in PQ, HLG or with colours outside BT.709: map it to BT.709, or quarantine it.",
    )
    interlaced: Literal["deinterlace", "quarantine"] = Field(
        default="deinterlace",
        description="Interlaced footage, including telecined film: deinterlace it, or quarantine it.",
    )
    alpha: Literal["black", "white", "quarantine"] = Field(
        default="black",
        description="Footage with transparent parts: put it on a black or a white background, or quarantine it.",
    )

    @property
    def frame_counts(self) -> tuple[int, ...]:
        """The numbers of frames that clips may have, as they were asked for, the largest first."""
        asked = (self.num_frames,) if isinstance(self.num_frames, int) else self.num_frames
        return tuple(sorted(set(asked), reverse=True))

    @model_validator(mode="after")
    def _lengths_agree(self) -> "VideoSpec":
        low, most = self.min_frames or 1, self.frame_counts[0]
        if self.bucket_strategy == "aspect_ratio" and low > most:
            raise ValueError(
                f"min_frames is {low} and num_frames {most}: no clip could be that long. Lower min_frames."
            )
        if len(self.frame_counts) > 1 and (self.bucket_strategy != "aspect_ratio" or self.min_frames is not None):
            raise ValueError(
                f"num_frames has several numbers, {list(self.frame_counts)}, which say themselves how long clips are; "
                f"leave bucket_strategy and min_frames out, or give one number."
            )
        if self.frame_stride > 1 and self.frame_rate != "native":
            raise ValueError(
                f"frame_stride is {self.frame_stride} and frame_rate {self.frame_rate:g}, which decides alone which "
                f"frames are taken; give one of them."
            )
        if self.max_frames is not None and self.max_frames < low:
            raise ValueError(f"max_frames is {self.max_frames}, below min_frames {low}. Raise max_frames.")
        return self


class AudioSpec(ConfigModel):
    """Options for taking audio from a video. The audio VAE takes 16 kHz stereo."""

    auto_split: bool = Field(default=True, description="Use the audio of the same seconds as each clip's frames.")
    channels: Literal[1, 2] = Field(
        default=2, description="1: mix down to mono, then duplicate the channel. 2: mix down to stereo."
    )
    audio_dir: Path | None = Field(
        serialization_alias="sound_dir",
        default=None,
        description="Folder of audio files. Each has the relative path of its video, except for the suffix, and "
        "starts at the video's first frame. The audio inside the videos is then ignored. Default: the "
        "audio inside the videos.",
    )
    missing_audio: Literal["quarantine", "without"] = Field(
        serialization_alias="missing_sound",
        default="quarantine",
        description="With `audio_dir`, for a video that has no file there: quarantine it, or train it without audio.",
    )
    reference_dir: Path | None = Field(
        default=None,
        exclude_if=lambda value: value is None,  # so that keys of datasets without it stay what they were
        description="Folder of audio files that the audio follows, for an IC-LoRA of audio: NAME.* for the file NAME, "
        "starting where it does. A file without one is trained without.",
    )
    silence: Literal["ignore", "train"] = Field(
        default="ignore",
        description="What silent audio teaches the model: nothing, or to be silent. Missing audio is never treated "
        "as silence.",
    )

    @model_validator(mode="after")
    def _audio_is_taken(self) -> "AudioSpec":
        for name in ("audio_dir", "reference_dir"):
            if (folder := getattr(self, name)) is not None and not self.auto_split:
                raise ValueError(f"auto_split is off, and {name} {folder} would not be read; leave one of them out")
        if self.silence != "ignore" and not self.auto_split:
            raise ValueError(f"silence is {self.silence!r} and has no effect without auto_split; leave one of them out")
        if self.missing_audio != "quarantine" and self.audio_dir is None:
            raise ValueError(f"missing_audio is {self.missing_audio!r} and has no effect without audio_dir")
        return self


Derived = Literal["edges", "gray", "low_resolution"]
"""Reference videos that are made of the clips themselves."""


class ReferenceSpec(ConfigModel):
    """Options for reference videos, which an IC-LoRA learns to follow. Give `reference_dir` or `derive`."""

    reference_dir: Path | None = Field(
        default=None,
        description="Folder of reference videos or images: NAME.* or NAME_reference.* for the video NAME. If this is "
        "the footage's own folder, only NAME_reference.* is used. A reference has its video's shape and clock.",
    )
    derive: Derived | None = Field(
        default=None,
        description="Make the references from the clips: `edges` by ffmpeg's edge detector, `gray` without colour, "
        "`low_resolution` with an eighth of the pixels along each edge.",
    )
    downscale_factor: int = Field(
        default=1,
        ge=1,
        le=8,
        description="Whole number by which references are smaller than their clips along each edge, which costs less "
        "memory and time. Sizes of clips are rounded to multiples of 32 times this.",
    )
    frame_factor: int = Field(
        default=1,
        ge=1,
        le=16,
        exclude_if=lambda value: value == 1,  # so that keys of datasets without it stay what they were
        description="Whole number by which references have fewer frames than their clips: the first, the second, and "
        "from there every so-many-th. Numbers of frames of clips must be 1 more than a multiple of 8 times this.",
    )
    missing_reference: Literal["quarantine", "without"] = Field(
        default="quarantine",
        description="With `reference_dir`, for a video that has no file there: quarantine it, or train it without a "
        "reference.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> "ReferenceSpec":
        if (self.reference_dir is None) == (self.derive is None):
            raise ValueError(
                f"reference_dir is {self.reference_dir} and derive {self.derive!r}; give one of them, or leave "
                f"reference out"
            )
        if self.missing_reference != "quarantine" and self.reference_dir is None:
            raise ValueError(f"missing_reference is {self.missing_reference!r} and has no effect without reference_dir")
        return self


TRIGGER_MARKER = "[trigger]"
"""Stands in captions for the trigger word of their dataset."""


class CaptionSpec(ConfigModel):
    """Options for making captions of what is written."""

    trigger: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        pattern=r"^\S(.*\S)?$",
        description="Trigger word, which replaces `[trigger]` in captions. In prompts, write the word itself.",
    )
    trigger_place: Literal["marker", "front"] = Field(
        default="marker",
        description="`marker`: the trigger word is only put where `[trigger]` is. `front`: it is also put in front of "
        "captions that do not contain it, followed by a comma.",
    )
    lines: Literal["join", "variants"] = Field(
        default="join",
        description="Lines of a text file: one caption together, or variants of which each sample draws one. The "
        "eval loss and renders use the first.",
    )
    tag_shuffles: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Number of random orders of a caption's comma-separated tags that are variants beside the written "
        "order. Each is embedded once, so text features take as many times more space.",
    )
    tags_in_place: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Number of tags at the beginning of a caption that keep their place in those orders.",
    )
    missing: Literal["quarantine", "model"] = Field(
        default="quarantine",
        description="With `textfile`, for a file that has no caption: quarantine it, or let the stage `caption` write "
        "one for each of its clips.",
    )
    dropout: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Fraction of the samples of this dataset that are trained with an empty caption. Default: "
        "`train_lora.caption_dropout`.",
    )

    @model_validator(mode="after")
    def _trigger_is_there(self) -> "CaptionSpec":
        if self.trigger is None and self.trigger_place != "marker":
            raise ValueError(f"trigger_place is {self.trigger_place!r} and has no effect without trigger; set both")
        if self.tags_in_place and not self.tag_shuffles:
            raise ValueError(f"tags_in_place is {self.tags_in_place} and has no effect without tag_shuffles; set both")
        if self.trigger is not None and TRIGGER_MARKER in self.trigger:
            raise ValueError(f"trigger is {self.trigger!r}; give the word that replaces {TRIGGER_MARKER} in captions")
        return self


LEAST_PIXELS = 32
"""Of a clip's edge: the VAE's pixels a latent place."""
MOST_MEGAPIXELS = 16
"""Of a clip, about twice 4K; nothing larger was ever trained."""


OF_FRAMES = (
    *("resolution", "resolution_type", "mask_dir", "minimum_image_size", "flip", "reference", "keyframes"),
    *("video.frame_stride", "video.hdr", "video.interlaced", "video.alpha"),
    *("audio.auto_split", "audio.audio_dir", "captions.missing"),
)
"""Options without effect on a dataset of audio."""


class DatasetSpec(ConfigModel):
    """One folder of footage."""

    id: str = Field(
        min_length=1,
        max_length=100,
        pattern=r"^[A-Za-z0-9_.-]+$",
        description="Name of the dataset, unique in a configuration.",
    )
    instance_data_dir: Path = Field(description="Folder with the videos and images. It is searched recursively.")
    type: Literal["local"] = Field(default="local", description="Where the files are.")
    dataset_type: Literal["video", "audio"] = Field(
        default="video",
        description="What is trained on. `video`: videos, with their audio, and images among them. `audio`: the audio "
        "of audio files and videos, without any video. Its clips last `video.num_frames` at `video.frame_rate`, which "
        "is 25 with `native`.",
    )
    caption_strategy: Literal["textfile", "filename", "instanceprompt"] = Field(
        default="textfile",
        description="Where captions come from: from NAME.txt beside the file, from the file's name, or from "
        "`instance_prompt`.",
    )
    instance_prompt: str | None = Field(
        default=None, description="Caption of every clip, with `caption_strategy: instanceprompt`."
    )
    resolution: Resolution | Annotated[tuple[Resolution, ...], Field(min_length=1, max_length=16)] = Field(
        default=512,
        description="Target size: in pixels for `pixel` and `pixel_area`, in megapixels for `area`. Of several "
        "sizes, a clip has the largest that its file need not be enlarged for, else the smallest.",
    )
    resolution_type: Literal["pixel", "pixel_area", "area"] = Field(
        default="pixel_area",
        description="`pixel`: length of the shorter edge. `pixel_area`: edge of a square with the same area. `area`: "
        "megapixels.",
    )
    mask_dir: Path | None = Field(
        default=None,
        description="Folder of masks: NAME.png, NAME.mp4 or NAME_mask.* for the video NAME. White parts are trained "
        "on, black parts have no loss. If this is the footage's own folder, only NAME_mask.* is used. A "
        "video without a mask is trained on completely.",
    )
    minimum_image_size: float = Field(
        default=0,
        ge=0,
        description="Smaller footage is quarantined. Pixels of the shorter edge, or megapixels with "
        "`resolution_type: area`.",
    )
    crop: Literal["center"] = Field(
        default="center", description="Part that is kept if the shape of the bucket differs."
    )
    repeats: int = Field(default=1, ge=1, description="Samples of each clip in an epoch.")
    weight: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        description="Samples of this dataset in an epoch, relative to the other datasets, which then need a weight "
        "too. The repeats follow from the weights and the numbers of clips.",
    )
    flip: Literal["none", "horizontal"] = Field(
        default="none",
        description="`horizontal`: each clip that is trained on is also used mirrored, as a clip with latents of its "
        "own, unless a caption says `left` or `right`. Text becomes unreadable, so do not use it for footage with "
        "text.",
    )
    eval_fraction: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Fraction of the source files that is held out for the eval loss, chosen by hash. 1: all files.",
    )
    captions: CaptionSpec = Field(default=CaptionSpec(), description="Captions.")
    reference: ReferenceSpec | None = Field(
        default=None, description="Reference videos. Default: none, and the LoRA is no IC-LoRA."
    )
    keyframes: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        default=(),
        max_length=16,
        description="Times of frames of each clip that are also encoded as single images, as fractions of the clip: 1 "
        "is the last frame. For `train_lora.keyframe_probability`.",
    )
    video: VideoSpec = Field(default=VideoSpec(), description="Frames.")
    audio: AudioSpec = Field(default=AudioSpec(), description="Audio.")

    @property
    def downscale_factor(self) -> int:
        """By how much its references are smaller than its clips; 1 without references."""
        return 1 if self.reference is None else self.reference.downscale_factor

    @property
    def resolutions(self) -> tuple[float, ...]:
        """The sizes that clips may have."""
        return self.resolution if isinstance(self.resolution, tuple) else (self.resolution,)

    @model_validator(mode="after")
    def _references_fit(self) -> "DatasetSpec":
        if self.dataset_type == "audio" and self.audio.reference_dir == self.instance_data_dir:
            raise ValueError(
                f"dataset {self.id!r} has audio.reference_dir {self.audio.reference_dir}, where its own files are, so "
                f"that each would follow itself; put the references into another folder"
            )
        factor = 1 if self.reference is None else self.reference.frame_factor
        if factor > 1 and self.video.bucket_strategy == "resolution_frames":
            raise ValueError(
                f"dataset {self.id!r} has reference.frame_factor {factor} with video.bucket_strategy "
                f"'resolution_frames', whose clips have any length; use another strategy"
            )
        for frames in self.video.frame_counts:
            if (frames - 1) // 8 % factor:
                raise ValueError(
                    f"dataset {self.id!r} has clips of {frames} frames and reference.frame_factor {factor}; numbers of "
                    f"frames must be {8 * factor}k+1, such as {8 * factor + 1}"
                )
        return self

    @model_validator(mode="after")
    def _repeats_are_said_once(self) -> "DatasetSpec":
        if self.weight is not None and self.repeats != 1:
            raise ValueError(
                f"dataset {self.id!r} has repeats {self.repeats} and weight {self.weight:g}, from which repeats "
                f"follow; give one of them."
            )
        return self

    @model_validator(mode="after")
    def _audio_has_no_frames(self) -> "DatasetSpec":
        if self.dataset_type != "audio":
            return self
        parts = {"": self, "video.": self.video, "audio.": self.audio, "captions.": self.captions}
        for name in OF_FRAMES:
            prefix = name[: name.rfind(".") + 1]
            field = name.removeprefix(prefix)
            part = parts[prefix]
            if getattr(part, field) != type(part).model_fields[field].default:
                raise ValueError(
                    f"dataset {self.id!r} has {name} and dataset_type 'audio', which has no video; leave it out"
                )
        return self

    @model_validator(mode="after")
    def _sizes_are_of_their_type(self) -> "DatasetSpec":
        """Pixels and megapixels are told apart by their size, since a wrong type trains tiny or huge clips."""
        sizes = [("resolution", size) for size in self.resolutions]
        for name, value in (*sizes, ("minimum_image_size", self.minimum_image_size)):
            if self.resolution_type == "area" and value > MOST_MEGAPIXELS:
                raise ValueError(
                    f"dataset {self.id!r} has {name} {value:g} with resolution_type 'area', which counts megapixels; "
                    f"at most {MOST_MEGAPIXELS} is wanted. Did you mean resolution_type 'pixel_area'?"
                )
            if self.resolution_type != "area" and 0 < value < LEAST_PIXELS:
                raise ValueError(
                    f"dataset {self.id!r} has {name} {value:g} with resolution_type {self.resolution_type!r}, which "
                    f"counts pixels; {LEAST_PIXELS} or more is wanted. Did you mean resolution_type 'area', which "
                    f"counts megapixels?"
                )
        return self

    @model_validator(mode="after")
    def _prompt_given(self) -> "DatasetSpec":
        if (self.caption_strategy == "instanceprompt") != (self.instance_prompt is not None):
            raise ValueError(
                f"dataset {self.id!r} has caption_strategy {self.caption_strategy!r} and instance_prompt "
                f"{self.instance_prompt!r}; give instance_prompt with, and only with, `instanceprompt`."
            )
        return self

    @model_validator(mode="after")
    def _captions_have_what_is_asked_for(self) -> "DatasetSpec":
        if self.captions.lines == "variants" and self.caption_strategy != "textfile":
            raise ValueError(
                f"dataset {self.id!r} has captions.lines 'variants' and caption_strategy {self.caption_strategy!r}, "
                f"which gives one line; use `textfile`, or leave captions.lines out."
            )
        if self.captions.missing == "model" and self.caption_strategy != "textfile":
            raise ValueError(
                f"dataset {self.id!r} has captions.missing 'model' and caption_strategy {self.caption_strategy!r}, "
                f"which gives every file a caption; use `textfile`, or leave captions.missing out."
            )
        trigger, prompt = self.captions.trigger, self.instance_prompt or TRIGGER_MARKER
        if trigger is not None and self.captions.trigger_place == "marker" and TRIGGER_MARKER not in prompt:
            raise ValueError(
                f"dataset {self.id!r} has captions.trigger {trigger!r} and no {TRIGGER_MARKER} in its instance_prompt; "
                f"put it there, or set captions.trigger_place: front."
            )
        return self
