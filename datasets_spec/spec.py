"""What a user says about a folder of footage: the keys of the guide's `multidatabackend.json`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

FrameRate = Annotated[float, Field(gt=0, le=240)]


class SpecModel(BaseModel):
    """Base of the dataset options: frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class VideoSpec(SpecModel):
    """How frames are taken from a video. The VAE takes 8k+1 frames; other counts are floored with a notice."""

    num_frames: int = Field(default=121, ge=1, description="Frames of a clip; floored to 8k+1.")
    min_frames: int | None = Field(
        default=None, ge=1, description="Shortest usable length in frames at `frame_rate`; default `num_frames`."
    )
    max_frames: int | None = Field(
        default=None, ge=1, description="Longest usable source in frames at `frame_rate`; default no limit."
    )
    frame_rate: Literal["native"] | FrameRate = Field(
        default="native",
        description="`native`: clips keep their file's own rate, or its largest whole part up to 30, as 25 of 50 and "
        "29.97 of 59.94. A number: clips are resampled to it by presentation time, which repeats or drops frames.",
    )
    bucket_strategy: Literal["aspect_ratio", "resolution_frames"] = Field(
        default="aspect_ratio",
        description="`aspect_ratio`: all clips have `num_frames`. `resolution_frames`: a clip keeps its own length.",
    )
    frame_interval: int = Field(
        default=8, ge=1, description="With `resolution_frames`, lengths are floored to a multiple of this, plus one."
    )
    hdr: Literal["map", "quarantine"] = Field(
        default="map", description="Footage in PQ, HLG or colours beyond BT.709: mapped to BT.709, or set aside."
    )
    interlaced: Literal["deinterlace", "quarantine"] = Field(
        default="deinterlace",
        description="Footage in fields, telecined film too: made whole pictures of, or set aside.",
    )
    alpha: Literal["black", "quarantine"] = Field(
        default="black", description="Footage with transparent parts: laid on black, or set aside."
    )

    @model_validator(mode="after")
    def _lengths_agree(self) -> "VideoSpec":
        low = self.min_frames or 1
        if self.bucket_strategy == "aspect_ratio" and low > self.num_frames:
            raise ValueError(
                f"min_frames is {low} and num_frames {self.num_frames}: no clip could be that long. Lower min_frames."
            )
        if self.max_frames is not None and self.max_frames < low:
            raise ValueError(f"max_frames is {self.max_frames}, below min_frames {low}. Raise max_frames.")
        return self


class AudioSpec(SpecModel):
    """How sound is taken from a video. The audio VAE takes 16 kHz stereo."""

    auto_split: bool = Field(default=True, description="Take the sound of the same seconds as each clip's frames.")
    channels: Literal[1, 2] = Field(
        default=2, description="1: down-mix to mono, then duplicate. 2: down-mix to stereo."
    )
    sound_dir: Path | None = Field(
        default=None,
        description="Folder of sound files, each the sound of the video of the same relative path but for the suffix, "
        "from its first frame on; the videos' own sound is left out. Default: the videos' own.",
    )
    missing_sound: Literal["quarantine", "without"] = Field(
        default="quarantine",
        description="With `sound_dir`, of a video that has no file there: set it aside, or train it without sound.",
    )
    silence: Literal["ignore", "train"] = Field(
        default="ignore",
        description="What a silent sound teaches: nothing, or to be silent. Sound that is missing never teaches that.",
    )

    @model_validator(mode="after")
    def _sound_is_taken(self) -> "AudioSpec":
        if self.sound_dir is not None and not self.auto_split:
            raise ValueError(
                f"auto_split is off, and sound_dir {self.sound_dir} would not be read; leave one of them out"
            )
        if self.silence != "ignore" and not self.auto_split:
            raise ValueError(f"silence is {self.silence!r} and has no effect without auto_split; leave one of them out")
        if self.missing_sound != "quarantine" and self.sound_dir is None:
            raise ValueError(f"missing_sound is {self.missing_sound!r} and has no effect without sound_dir")
        return self


LEAST_PIXELS = 32
"""Of a clip's edge: the VAE's pixels a latent place."""
MOST_MEGAPIXELS = 16
"""Of a clip, about twice 4K; nothing larger was ever trained."""


class DatasetSpec(SpecModel):
    """One folder of footage."""

    id: str = Field(
        min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_.-]+$", description="Name of the dataset, unique in a run."
    )
    instance_data_dir: Path = Field(description="Folder that holds the media files, searched recursively.")
    type: Literal["local"] = Field(default="local", description="Where the files lie.")
    dataset_type: Literal["video"] = Field(default="video", description="What the files are.")
    caption_strategy: Literal["textfile", "filename", "instanceprompt"] = Field(
        default="textfile", description="Caption from NAME.txt beside the file, from its name, or `instance_prompt`."
    )
    instance_prompt: str | None = Field(default=None, description="The caption of every clip, with `instanceprompt`.")
    resolution: float = Field(
        default=512, gt=0, description="Target size; pixels for `pixel` and `pixel_area`, megapixels for `area`."
    )
    resolution_type: Literal["pixel", "pixel_area", "area"] = Field(
        default="pixel_area",
        description="`pixel`: length of the shorter edge. `pixel_area`: edge of the square of equal area. "
        "`area`: megapixels.",
    )
    mask_dir: Path | None = Field(
        default=None,
        description="Folder of masks, NAME.png, NAME.mp4 or NAME_mask.* for the video NAME: white is trained on, black "
        "carries no loss. In the footage's own folder NAME_mask.* alone. A video without a mask is trained on whole.",
    )
    minimum_image_size: float = Field(
        default=0,
        ge=0,
        description="Smaller footage is set aside: pixels of its shorter edge, or megapixels for `area`.",
    )
    crop: Literal["center"] = Field(default="center", description="Which part is kept when the bucket's shape differs.")
    repeats: int = Field(default=1, ge=1, description="How often an epoch visits each clip.")
    eval_fraction: float = Field(
        default=0.1, ge=0, le=1, description="Share of source files held out for the eval loss, chosen by hash; 1: all."
    )
    video: VideoSpec = Field(default=VideoSpec(), description="Frames.")
    audio: AudioSpec = Field(default=AudioSpec(), description="Sound.")

    @model_validator(mode="after")
    def _sizes_are_of_their_type(self) -> "DatasetSpec":
        """Pixels and megapixels are told apart by their size, since a wrong type trains tiny or huge clips."""
        for name, value in (("resolution", self.resolution), ("minimum_image_size", self.minimum_image_size)):
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
