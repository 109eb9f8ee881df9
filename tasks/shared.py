"""Configuration that more than one stage reads. A stage sees it, but only what it observes of it enters its key."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from datasets_spec import DatasetSpec
from ltx_core.checkpoint.flavours import flavour
from tasks.address import Address

NEGATIVE_PROMPT = "worst quality, inconsistent motion, blurry, jittery, distorted"


class ConfigModel(BaseModel):
    """Base of every configuration section: frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    LOCATIONS: ClassVar[tuple[str, ...]] = ()
    """Options that are a path or a repository on the hub."""


class ModelConfig(ConfigModel):
    """The weights. Their contents, not where they lie, enter the keys."""

    LOCATIONS = ("checkpoint", "text_encoder")

    checkpoint: str = Field(
        min_length=1,
        description="Combined `.safetensors` file, folder (LTX-2.5's pack, or diffusers'), or repository on the hub.",
    )
    flavour: str | None = Field(
        default=None,
        description="Which model of a repository: `dev`, `dev-fp8`, `dev-fp4`, `2.3-dev`, `2.5-dev`, ...; default its "
        "first. Of local files, what they must turn out to be.",
    )
    revision: str | None = Field(default=None, description="Branch, tag or commit of the repository; default `main`.")
    text_encoder: str | None = Field(
        default=None,
        min_length=1,
        description="Folder or repository of Gemma 3, or LTX-2.5's file; default the one in or beside the checkpoint.",
    )

    @field_validator("flavour")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None:
            flavour(value)
        return value


class PicturePrompt(ConfigModel):
    """Image to video from a picture of one's own."""

    picture: Path = Field(description="PNG or JPEG; scaled to cover the render, the middle kept, as footage is.")
    prompt: str = Field(min_length=1, description="What happens next.")
    seed: int | None = Field(default=None, ge=0, description="Seed; default those of all renders.")


class SoundPrompt(ConfigModel):
    """Sound to video from a file of one's own."""

    sound: Path = Field(description="An audio file, or a video whose sound is taken.")
    prompt: str = Field(min_length=1, description="What is seen.")
    start_seconds: float = Field(default=0.0, ge=0, description="Where in the file to begin.")
    seed: int | None = Field(default=None, ge=0, description="Seed; default those of all renders.")


class PromptConfig(ConfigModel):
    """What validation renders are asked for; embedded together with the captions."""

    validation: tuple[str, ...] = Field(default=(), description="Prompts rendered by base and LoRA at the same seeds.")
    library: Path | None = Field(
        default=None, description="JSON file of names and prompts; they are rendered after those of `validation`."
    )
    pictures: tuple[PicturePrompt, ...] = Field(default=(), description="Pictures that renders start from.")
    sounds: tuple[SoundPrompt, ...] = Field(default=(), description="Sounds that renders follow and keep.")
    negative: str = Field(
        default=NEGATIVE_PROMPT,
        description="What guidance steers away from; used where guidance is above 1. With `render_validation.guidance: "
        "official` this default becomes a longer one, which names faults of sound too.",
    )

    def texts(self) -> set[str]:
        """Every prompt, and what guidance steers away from."""
        pictures, sounds = ({entry.prompt for entry in entries} for entries in (self.pictures, self.sounds))
        return {*self.validation, *pictures, *sounds, self.negative}


class MemoryConfig(ConfigModel):
    """Where GPU stages run. Never changes a result's key."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="`auto`: the GPU if there is one, else the CPU."
    )
    gpu_gib: float | None = Field(
        default=None,
        gt=0,
        le=1024,
        description="Plan training for a GPU of that many GiB: to `plan` on a machine without it, or leave room on a "
        "larger one. Default: what is free.",
    )
    cpu_threads: int | None = Field(
        default=None, ge=1, le=1024, description="CPU threads of PyTorch; default its own choice. 1 for toy models."
    )
    vae_chunk_frames: Literal["auto"] | Annotated[int, Field(ge=1, le=128)] | None = Field(
        default="auto",
        description="Latent frames (8 pixel frames each) that the video VAE works on at once, exact to rounding; null: "
        "whole clips. `auto`: whole if it fits the device, else 4, else 1.",
    )
    stream_text_encoder: Literal["auto"] | bool = Field(
        default="auto",
        description="Bring the text encoder's layers from host memory one by one. `auto`: if they do not fit the "
        "device. Changes nothing but time; larger `embed_text.pack_tokens` make up for some of it.",
    )
    vae_slicing: Literal["auto"] | bool = Field(
        default="auto", description="One clip of a batch at a time in the video VAE. `auto`: if a batch does not fit."
    )
    num_gpus: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = Field(
        default="auto",
        description="GPUs of one machine that training uses, a process each; on the CPU, processes. They share the "
        "batches of a step, so `gradient_accumulation_steps` must be a multiple. `auto`: as many of those visible as "
        "share them evenly; 1 on the CPU.",
    )
    sharding: Literal["none", "full"] = Field(
        default="none",
        description="`full` cuts the frozen base among the GPUs (FSDP2), for when it fits no single one; slower than "
        "`none`, where each holds all of it.",
    )
    num_nodes: int = Field(
        default=1, ge=1, le=1024, description="Machines that training uses; above 1 it is started with torchrun."
    )


class LimitsConfig(ConfigModel):
    """When a stage gives up."""

    max_quarantined_fraction: float = Field(
        default=0.25, ge=0, le=1, description="A stage that sets aside more than this share of its items fails."
    )
    file_seconds: float = Field(
        default=300.0,
        gt=0,
        le=86_400,
        description="How long reading a file, or a clip of it, may take, and as long again for every 64 MiB of it; "
        "then its process is ended and it is set aside.",
    )


class TrackingConfig(ConfigModel):
    """MLflow."""

    uri: Address | None = Field(
        default=None,
        description="Tracking server; default `mlflow.db` in the workspace. An account in it is recorded nowhere; "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD do as well.",
    )
    experiment: str = Field(default="ltx2-lora", min_length=1, description="Experiment that runs are logged to.")
    run_name: str | None = Field(default=None, description="Name of the run; default made from the flow run's name.")
    wandb: bool = Field(
        default=False,
        description="Send settings, metrics and counts to Weights & Biases as well, project `experiment`; needs the "
        "extra `wandb`. WANDB_MODE=offline keeps them in the workspace for `wandb sync`.",
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
        ids = [dataset.id for dataset in self.datasets]
        if twice := sorted({i for i in ids if ids.count(i) > 1}):
            raise ValueError(f"dataset id {twice[0]!r} is given more than once; ids must differ")
        return self

    def dataset(self, dataset_id: str) -> DatasetSpec:
        """The dataset of that id, which exists because rows name only declared datasets."""
        return next(dataset for dataset in self.datasets if dataset.id == dataset_id)
