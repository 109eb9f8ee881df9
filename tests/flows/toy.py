"""The miniature at the smallest size at which every stage still has something to do."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flows.config import load_config
from flows.plan import Selection
from flows.run import run_stages
from flows.tiny_config import write_config
from ltx_core.io.digest import file_digest
from ltx_core.tiny.corpus import DECLARED
from ltx_core.tiny.footage import write_footage
from ltx_core.tiny.gemma import write_gemma
from ltx_core.tiny.model import CHECKPOINT_NAME, Miniature, write_checkpoint
from tasks import STAGES, stage_named
from tests.stages.bench import perform

COVERED = tuple(stage for stage in STAGES if stage.name not in ("caption", "embed_frames", "publish"))
"""The stages of a run whose clips have captions, without CREPA, and without a repository to publish to."""
FOOTAGE = ("ball_rolls.mp4", "bar_turns.mp4", "face_talks.mp4", "squares_cross.mp4", "empty.mp4")
"""Small files: four of which one is held out, and one to set aside."""
FOLDER = "footage"
"""The folder that they lie in."""
CAPTION = "bar_turns.txt"
"""Caption that tests edit."""
TRAIN: dict[str, Any] = {
    "steps": 6,
    "warmup_steps": 2,
    "checkpoint_interval": 2,
    "eval_interval": 6,
    "eval_sigmas": 1,
    "log_interval": 1,
    "batch_size": 1,
    "gradient_accumulation_steps": 1,
}
RENDER: dict[str, Any] = {
    "width": 64,
    "height": 64,
    "num_frames": 9,
    "num_steps": 2,
    "image_to_video_clips": 0,
    "audio_to_video_clips": 0,
}


BEFORE = Selection(STAGES[: STAGES.index(stage_named("train_lora"))], frozenset())
PREPARED = "prepared"


@dataclass(frozen=True)
class Toy:
    """A configuration file, and the workspace it names."""

    config: Path
    workspace: Path

    @property
    def footage(self) -> Path:
        """Where its media files lie."""
        return self.config.parent / "footage"

    def variant(self, name: str, *, copied: bool = False, **sections: dict[str, Any]) -> "Toy":
        """Another configuration beside this one; with a workspace of its own: empty, or a copy without trainings."""
        values = yaml.safe_load(self.config.read_text()) | {"workspace": name}
        for section, changes in sections.items():
            values[section] = values.get(section, {}) | changes
        made = Toy(self.config.with_name(f"{name}.yaml"), self.config.with_name(name))
        made.config.write_text(yaml.safe_dump(values))
        if copied:
            left = shutil.ignore_patterns("mlartifacts", "train_lora")
            shutil.copytree(self.workspace, made.workspace, ignore=left)
        return made

    def own_footage(self) -> Path:
        """Give this configuration a copy of the footage, to change."""
        values = yaml.safe_load(self.config.read_text())
        folder = shutil.copytree(self.footage, self.config.with_name(f"{self.config.stem}-footage"))
        values["datasets"][0]["instance_data_dir"] = str(folder)
        self.config.write_text(yaml.safe_dump(values))
        return folder

    def made(self, run: str) -> dict[str, Path]:
        """Stage to output folder, of the run of that name."""
        keys = json.loads((self.workspace / "runs" / run / "run.json").read_text())["stages"]
        return {stage: self.workspace / "stages" / stage / key for stage, key in keys.items()}

    def whole_checkpoints(self) -> list[Path]:
        """Checkpoints of any training in which every file is as its `state.json` says, oldest first."""
        found = (self.workspace / "stages" / "train_lora").glob("*/checkpoints/step-*/state.json")
        return sorted(state.parent for state in found if _is_whole(state))

    def log(self, stage: str) -> str:
        """What the child processes of a stage wrote."""
        logs = sorted((self.workspace / "stages" / stage).glob("*/log.txt"))
        return "".join(log.read_text() for log in logs)


def _is_whole(state: Path) -> bool:
    try:
        files = json.loads(state.read_text())["files"]
        return all(file_digest(state.parent / name) == digest for name, digest in files.items())
    except FileNotFoundError:  # pruned meanwhile
        return False


def prepare(toy: Toy) -> None:
    """Run the stages before training, in this process and without prompts: what trainings of tests are copies of."""
    made = toy.variant(PREPARED, prompts={"validation": []})
    run_stages(load_config(made.config, {}), BEFORE, perform)


def prepared_in(toy: Toy) -> Toy:
    """What `prepare` made of it."""
    return Toy(toy.config.with_name(f"{PREPARED}.yaml"), toy.config.with_name(PREPARED))


def toy_in(folder: Path) -> Toy:
    """What `write_toy` wrote there."""
    return Toy(folder / "ltx2-lora.yaml", folder / "workspace")


def write_toy(folder: Path) -> None:
    """Write model, text encoder, footage and configuration."""
    made = Miniature(
        checkpoint=write_checkpoint(folder / "model" / CHECKPOINT_NAME, "2.0", 0),
        text_encoder=write_gemma(folder / "model" / "gemma", 0),
        footage=folder / "footage",
    )
    write_footage(made.footage, [declared for declared in DECLARED if declared.name in FOOTAGE])
    config = write_config(folder, made)
    values = yaml.safe_load(config.read_text())
    values["train_lora"] |= TRAIN
    values["render_validation"] |= RENDER
    values["prompts"]["validation"] = values["prompts"]["validation"][:1]
    config.write_text(yaml.safe_dump(values))
