"""Configuration that more than one stage reads. A stage sees it, but only what it observes of it enters its key."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from datasets_spec import DatasetSpec
from datasets_spec.options import ConfigModel
from datasets_spec.spec import TRIGGER_MARKER, Derived
from ltx_core.checkpoint.flavours import published
from tasks.runtime.conditions import ComposedPrompt
from tasks.tracking.address import Address

NEGATIVE_PROMPT = "worst quality, inconsistent motion, blurry, jittery, distorted"


class ModelConfig(ConfigModel):
    """The weights. Their contents, not where they lie, enter the keys."""

    LOCATIONS = ("checkpoint", "text_encoder")

    checkpoint: str = Field(
        min_length=1,
        description="A combined `.safetensors` file, a folder (LTX-2.5's pack, or in diffusers' layout), or a "
        "repository on the hub.",
    )
    flavour: str | None = Field(
        default=None,
        description="Model of a repository that contains several: `dev`, `dev-fp8`, `dev-fp4`, `2.3-dev`, `2.5-dev`, "
        "... Default: the first. For local files, the model that they must contain.",
    )
    revision: str | None = Field(default=None, description="Branch, tag or commit of the repository. Default: `main`.")
    text_encoder: str | None = Field(
        default=None,
        min_length=1,
        description="Folder or repository of Gemma 3, or LTX-2.5's file. Default: the one in or beside the checkpoint.",
    )

    @field_validator("flavour")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None:
            published(value)
        return value


class ImagePrompt(ConfigModel):
    """Image to video from an image of one's own."""

    image: Path = Field(
        serialization_alias="picture",
        description="PNG or JPEG file. It is scaled to cover the render and cropped to the centre, as footage is.",
    )
    prompt: str = Field(min_length=1, description="Description of what happens next.")
    seed: int | None = Field(default=None, ge=0, description="Seed. Default: the seeds of all renders.")


class AudioPrompt(ConfigModel):
    """Audio to video from a file of one's own."""

    audio: Path = Field(serialization_alias="sound", description="An audio file, or a video whose audio is used.")
    prompt: str = Field(min_length=1, description="Description of what is seen.")
    start_seconds: float = Field(default=0.0, ge=0, description="Start of the audio in the file, in seconds.")
    seed: int | None = Field(default=None, ge=0, description="Seed. Default: the seeds of all renders.")


class ReferencePrompt(ConfigModel):
    """A render that follows a control video of one's own, by an IC-LoRA."""

    reference: Path = Field(
        description="Control video at least as long as the render, or an image. It is scaled to cover the render and "
        "cropped to the centre."
    )
    prompt: str = Field(min_length=1, description="Description of what is seen.")
    derive: Derived | None = Field(
        default=None,
        description="Make the control video from this file, as `datasets[].reference.derive` does from clips. Default: "
        "the file is one.",
    )
    start_seconds: float = Field(default=0.0, ge=0, description="Start of the control video in the file, in seconds.")
    seed: int | None = Field(default=None, ge=0, description="Seed. Default: the seeds of all renders.")


class VideoPrompt(ConfigModel):
    """Video to audio from a file of one's own."""

    video: Path = Field(
        description="Video at least as long as the render. It is scaled to cover the render and cropped to the centre."
    )
    prompt: str = Field(min_length=1, description="Description of what is heard and seen.")
    start_seconds: float = Field(default=0.0, ge=0, description="Start of the video in the file, in seconds.")
    seed: int | None = Field(default=None, ge=0, description="Seed. Default: the seeds of all renders.")


class PromptConfig(ConfigModel):
    """Prompts of the validation renders; they are embedded together with the captions."""

    validation: tuple[str, ...] = Field(
        default=(), description="Prompts that are rendered with the base model and with the LoRA, at the same seeds."
    )
    library: Path | None = Field(
        default=None, description="JSON file that maps names to prompts. They are rendered after those of `validation`."
    )
    images: tuple[ImagePrompt, ...] = Field(
        serialization_alias="pictures", default=(), description="Images that renders start from."
    )
    audio: tuple[AudioPrompt, ...] = Field(
        serialization_alias="sounds", default=(), description="Audio that renders follow and keep."
    )
    videos: tuple[VideoPrompt, ...] = Field(
        default=(),
        exclude_if=lambda value: not value,  # so that what is kept of configurations without it stays what it was
        description="Videos that are kept, and whose audio is rendered.",
    )
    references: tuple[ReferencePrompt, ...] = Field(
        default=(),
        exclude_if=lambda value: not value,  # so that what is kept of configurations without it stays what it was
        description="Control videos that renders follow, for an IC-LoRA that was trained, or one of "
        "`render_validation.adapters`.",
    )
    composed: tuple[ComposedPrompt, ...] = Field(
        default=(),
        exclude_if=lambda value: not value,  # so that what is kept of configurations without it stays what it was
        description="Renders that keep parts of several files at once, such as a first and a last frame.",
    )
    negative: str = Field(
        default=NEGATIVE_PROMPT,
        description="Text that guidance steers away from, used where guidance is above 1. With "
        "`render_validation.guidance: official` this default is replaced by a longer one that also names "
        "audio artefacts.",
    )

    @model_validator(mode="after")
    def _triggers_are_written_out(self) -> Self:
        if with_marker := sorted(text for text in self.texts() if TRIGGER_MARKER in text):
            raise ValueError(
                f"the prompt {with_marker[0]!r} has {TRIGGER_MARKER}, which is replaced in captions alone; write the "
                f"trigger word itself"
            )
        return self

    def texts(self) -> set[str]:
        """Every prompt, and what guidance steers away from."""
        files = (self.images, self.audio, self.videos, self.references, self.composed)
        of_files = {entry.prompt for entries in files for entry in entries}
        return {*self.validation, *of_files, self.negative}


class MemoryConfig(ConfigModel):
    """Where GPU stages run. Never changes a result's key."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="`auto`: the GPU if there is one, otherwise the CPU."
    )
    gpu_gib: float | None = Field(
        default=None,
        gt=0,
        le=1024,
        description="Plan for a GPU with this many GiB: to use `plan` on a machine without that GPU, or to leave "
        "memory free on a larger one. Default: the memory that is free.",
    )
    cpu_threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="CPU threads of PyTorch. Default: PyTorch's own choice. Use 1 for tiny models.",
    )
    vae_chunk_frames: Literal["auto"] | Annotated[int, Field(ge=1, le=128)] | None = Field(
        default="auto",
        description="Latent frames (8 pixel frames each) that the video VAE processes at once; results are equal up "
        "to rounding. null: whole clips. `auto`: whole clips if they fit on the device, otherwise 4, "
        "otherwise 1.",
    )
    offload_text_encoder: Literal["auto"] | bool = Field(
        serialization_alias="stream_text_encoder",
        default="auto",
        description="Keep the text encoder's layers in host memory and copy them one by one. `auto`: if they do not "
        "fit on the device. Results do not change. It takes more time; a larger `embed_text.pack_tokens` "
        "makes up for some of it.",
    )
    vae_slicing: Literal["auto"] | bool = Field(
        default="auto",
        description="Process the clips of a batch one by one in the video VAE. `auto`: if a batch does not fit.",
    )
    num_gpus: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = Field(
        default="auto",
        description="GPUs of one machine that training uses, with one process each; on the CPU, the number of "
        "processes. They divide the batches of a step, so `gradient_accumulation_steps` must be a "
        "multiple of it. `auto`: as many visible GPUs as can divide them evenly; 1 on the CPU.",
    )
    sharding: Literal["none", "full"] = Field(
        default="none",
        description="`full` divides the frozen base model among the GPUs (FSDP2), for a model that fits on no single "
        "GPU. It is slower than `none`, where each GPU holds the whole model.",
    )
    num_nodes: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="Machines that training uses. If there are several, training is started with torchrun.",
    )


class LimitsConfig(ConfigModel):
    """When a stage gives up."""

    max_quarantined_fraction: float = Field(
        default=0.25, ge=0, le=1, description="A stage fails if it quarantines more than this fraction of its items."
    )
    file_seconds: float = Field(
        default=300.0,
        gt=0,
        le=86_400,
        description="Time that reading a file, or a clip of it, may take. The same time is added for every 64 MiB of "
        "the file. After that the process is ended and the file is quarantined.",
    )


class TrackingConfig(ConfigModel):
    """MLflow."""

    uri: Address | None = Field(
        default=None,
        description="Tracking server. Default: `mlflow.db` in the workspace. Account data in it is stored nowhere. "
        "Alternatively, set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
    )
    experiment: str = Field(default="ltx2-lora", min_length=1, description="Experiment that runs are logged to.")
    run_name: str | None = Field(
        default=None, description="Name of the run. Default: derived from the name of the flow run."
    )
    wandb: bool = Field(
        default=False,
        description="Send settings, metrics and counts to Weights & Biases as well, to the project `experiment`. "
        "Needs the extra `wandb`. WANDB_MODE=offline keeps them in the workspace for `wandb sync`.",
    )


class Shared(ConfigModel):
    """All sections that more than one stage reads."""

    datasets: tuple[DatasetSpec, ...] = Field(min_length=1, description="Folders of footage.")
    model: ModelConfig = Field(description="The weights.")
    prompts: PromptConfig = Field(default=PromptConfig(), description="Validation prompts.")
    memory: MemoryConfig = Field(default=MemoryConfig(), description="Where GPU stages run.")
    limits: LimitsConfig = Field(default=LimitsConfig(), description="When a stage gives up.")
    tracking: TrackingConfig = Field(default=TrackingConfig(), description="MLflow.")

    @model_validator(mode="after")
    def _ids_differ(self) -> "Shared":
        weights = {dataset.id: dataset.weight for dataset in self.datasets}
        if without := [name for name, weight in weights.items() if weight is None and any(weights.values())]:
            raise ValueError(f"datasets {', '.join(without)} have no weight, and others have; give all one, or none")
        ids = [dataset.id for dataset in self.datasets]
        if twice := sorted({i for i in ids if ids.count(i) > 1}):
            raise ValueError(f"dataset id {twice[0]!r} is given more than once; ids must differ")
        return self

    @model_validator(mode="after")
    def _references_agree(self) -> "Shared":
        specs = {one.id: one.reference for one in self.datasets if one.reference is not None}
        for name in ("downscale_factor", "frame_factor"):
            factors = {dataset: getattr(spec, name) for dataset, spec in specs.items()}
            if len(set(factors.values())) > 1:
                given = ", ".join(f"{dataset} {factor}" for dataset, factor in factors.items())
                raise ValueError(
                    f"datasets have references with different {name} ({given}), and a LoRA is for one; give all the "
                    f"same"
                )
        return self

    def dataset(self, dataset_id: str) -> DatasetSpec:
        """The dataset of that id, which exists because rows name only declared datasets."""
        return next(dataset for dataset in self.datasets if dataset.id == dataset_id)
