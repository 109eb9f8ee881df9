"""The stages of the pipeline, run in this process without Prefect and MLflow: footage to LoRA to renders."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from datasets_spec import Checkpoint, Manifest, Render
from ltx_core.progress import Silent
from ltx_core.tiny.world import FRAME_RATE, FRAMES, HEIGHT, WIDTH
from ltx_core.training.config import TrainSettings
from tasks import stage_named
from tasks.runtime.execute import execute
from tasks.runtime.launch import reuse_or_build
from tasks.runtime.shared import MemoryConfig, PromptConfig, Shared
from tasks.runtime.stage import StageRun
from tasks.runtime.workspace import Workspace
from tasks.stages.embed_frames import EmbedFramesConfig
from tasks.stages.embed_text import EmbedTextConfig
from tasks.stages.parts.encode_missing import EncodeLatentsConfig
from tasks.stages.probe import ProbeConfig
from tasks.stages.render.config import RenderValidationConfig
from tasks.stages.split import SplitConfig

Values = Mapping[str, Any]


class StepClock(Silent):
    """Measures training steps: seconds of this process on the CPU, which others that run beside it do not lengthen;
    seconds that pass on a GPU."""

    def __init__(self, device: str) -> None:
        self._now = time.process_time if device == "cpu" else time.monotonic
        self._at: list[float] = []

    def advance(self, done: int, total: int, unit: str) -> None:
        if unit == "steps":
            self._at.append(self._now())

    @property
    def median(self) -> float | None:
        """Of the steps; eval losses between two of them are few. None of a training that took fewer than three."""
        steps = [later - earlier for earlier, later in pairwise(self._at)]
        return median(steps) if len(steps) > 2 else None


@dataclass(frozen=True)
class Pipeline:
    """One world's footage in a workspace that all worlds share.

    Attributes:
        shared: Footage, weights and device; its prompts are replaced by those that are asked for.
        workspace: Where results lie.
        inputs: Finished results, by stage.
    """

    shared: Shared
    workspace: Workspace
    inputs: Mapping[str, Manifest[Any]]

    def having(self, name: str, config: Any, progress: Silent | None = None) -> "Pipeline":
        """The same after one more stage, which is reused if it was made before."""
        stage = stage_named(name)
        run = StageRun(
            stage=stage,
            config=config,
            shared=self.shared,
            inputs={need: self.inputs[need] for need in stage.read_of(self.inputs)},
            workspace=self.workspace,
            progress=progress or Silent(),
        )
        result = reuse_or_build(run, execute)
        return Pipeline(self.shared, self.workspace, {**self.inputs, name: result.manifest})

    def encoded(self) -> "Pipeline":
        """After all stages before training. All texts, those of the prompts too, are embedded."""
        whole = SplitConfig(max_frozen_fraction=1.0, contact_sheet_clips=0)
        return (
            self.having("probe", ProbeConfig())
            .having("split", whole)
            .having("embed_text", EmbedTextConfig(dtype="fp32"))
            .having("encode_latents", EncodeLatentsConfig(dtype="fp32"))
        )

    def with_features(self, encoder: Path, image_size: int) -> "Pipeline":
        """After the features of the frames, which CREPA needs."""
        config = EmbedFramesConfig(encoder=str(encoder), image_size=image_size, dtype="fp32")
        return self.having("embed_frames", config)

    def trained(self, settings: Values, progress: Silent) -> "Pipeline":
        """After a training."""
        return self.having("train_lora", TrainSettings.model_validate(dict(settings)), progress)

    def checkpoints(self) -> list[Checkpoint]:
        """Kept LoRAs of the training, the final one first."""
        return list(self.inputs["train_lora"])

    def rendered(self, prompts: Sequence[str], options: Values) -> list[Render]:
        """Renders of these prompts, and of what the options add."""
        asked = self.shared.model_copy(update={"prompts": PromptConfig(validation=tuple(prompts), negative="")})
        config = RenderValidationConfig.model_validate(RENDERING | dict(options))
        done = Pipeline(asked, self.workspace, self.inputs).having("render_validation", config)
        return list(done.inputs["render_validation"])


RENDERING: dict[str, Any] = {
    "width": WIDTH,
    "height": HEIGHT,
    "num_frames": FRAMES,
    "frame_rate": FRAME_RATE,
    "num_steps": 12,
    "audio_cfg": 3.0,
    "rescale": 0.0,
    "dtype": "fp32",
    "seeds": [42],
}


def memory(device: str) -> MemoryConfig:
    """One thread, because trainings run side by side; one GPU at most."""
    return MemoryConfig.model_validate({"device": device, "cpu_threads": 1, "num_gpus": 1})
