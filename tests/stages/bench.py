"""Stages at work in this process, on a handful of tiny clips: what `flows` does, without Prefect and children."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from datasets_spec import Quarantined
from flows.config import RunConfig, load_config
from flows.plan import Selection
from flows.run import run_stages
from ltx_core.progress import SILENT, Progress, Silent
from ltx_core.tiny.corpus import Footage, aac
from ltx_core.tiny.footage import write_footage
from tasks import STAGES, stage_named
from tasks.runtime.decide import decide
from tasks.runtime.execute import execute, read_quarantine
from tasks.runtime.launch import StageResult, reuse_or_build
from tasks.runtime.stage import Stage, StageRun
from tasks.runtime.workspace import Workspace

SCENES = ("bouncing_ball", "passing_hills", "rising_bubbles", "rolling_ball", "turning_bar")
"""One file each; at 12 frames a file holds one clip of 9."""
PROMPT = "A ball rolls."
NUM_OTHER_TEXTS = 3
"""The validation prompt, the negative prompt, the empty caption."""
CAPTIONS = "caption"
"""The stage that has something to do only where a clip has no caption."""
EVERY_STAGE = tuple(stage.name for stage in STAGES if stage.name != CAPTIONS)
"""Of a run whose clips have captions."""

Results = Mapping[str, StageResult]


def write_clip(folder: Path, name: str, scene: str, *, num_frames: int = 12, width: int = 64) -> Path:
    """Write one 64 pixels high clip with sound, and its caption."""
    declared = Footage(
        name=name,
        scene=scene,
        width=width,
        height=64,
        frame_rate=Fraction(25),
        num_frames=num_frames,
        caption=f"A {scene.replace('_', ' ')}.",
        audio=aac("hum_and_clicks"),
    )
    (path,) = write_footage(folder, [declared])
    return path


class Notes(Silent):
    """Progress that remembers what people were told, and asks to stop at a given item."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.told: list[str] = []
        self.stop_after = stop_after
        self.done = 0

    def note(self, message: str) -> None:
        self.told.append(message)

    def advance(self, done: int, total: int, unit: str) -> None:
        self.done = done

    @property
    def stopping(self) -> bool:  # type: ignore[override]  # Silent never stops; this one may
        return self.stop_after is not None and self.done >= self.stop_after


@dataclass(frozen=True)
class Bench:
    """A footage folder, weights, a workspace and settings; `run` covers the stages up to one."""

    footage: Path
    checkpoint: Path | str
    text_encoder: Path | str | None
    workspace: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    progress: Notes = field(default_factory=Notes)
    vision: Path | None = None
    """The encoder of CREPA, which is on where there is one."""

    @property
    def values(self) -> dict[str, Any]:
        """The configuration as a user writes it."""
        dataset = {"id": "set", "instance_data_dir": str(self.footage), "resolution": 64, "eval_fraction": 0.2}
        encoder = {} if self.text_encoder is None else {"text_encoder": str(self.text_encoder)}
        return self._embedding | {
            "workspace": str(self.workspace),
            "datasets": [dataset | {"video": {"num_frames": 9}}],
            "model": {"checkpoint": str(self.checkpoint)} | encoder,
            "prompts": {"validation": [PROMPT]},
            "memory": {"device": "cpu", "cpu_threads": 1},
            "split": {"contact_sheet_clips": 1},
            "embed_text": {"dtype": "fp32", "shard_max_samples": 2},
            "encode_latents": {"dtype": "fp32", "shard_max_samples": 2},
            "train_lora": {
                **({"crepa": {"block_index": 1}} if self.vision else {}),
                "steps": 2,
                "rank": 2,
                "learning_rate": 1e-3,
                "dtype": "fp32",
                "activation_checkpointing": 0.0,
                "checkpoint_interval": 1,
                "eval_sigmas": 1,
                "samples": {"every_steps": 0},
            },
            "render_validation": {"width": 128, "height": 64, "num_frames": 9, "num_steps": 2, "dtype": "fp32"},
            "publish": {"repository": "ann/mine", "dry_run": True},
        }

    @property
    def _embedding(self) -> dict[str, Any]:
        if self.vision is None:
            return {}
        own = {"encoder": str(self.vision), "image_size": 28, "dtype": "fp32", "shard_max_samples": 2}
        return {"embed_frames": own}

    @cached_property
    def config(self) -> RunConfig:
        return load_config(self.values, self.options)

    @property
    def place(self) -> Workspace:
        return self.config.place()

    def but(self, **changes: Any) -> "Bench":
        """The same with other parts, such as `footage=`."""
        return replace(self, **({"progress": Notes()} | changes))

    def set(self, **options: Any) -> "Bench":
        """The same with other options; `__` stands for a dot, as in `train_lora__rank=4`."""
        dotted = {name.replace("__", "."): value for name, value in options.items()}
        return self.but(options={**self.options, **dotted})

    def run(
        self, last: str = "encode_latents", *, force: str | None = None, downloading: Progress = SILENT
    ) -> dict[str, StageResult]:
        """Every stage up to `last`; `force` one of them."""
        covered = STAGES[: STAGES.index(stage_named(last)) + 1]
        forced = frozenset({force} if force else ())
        results = run_stages(self.config, Selection(covered, forced), self._perform, downloading)
        return {result.summary.stage: result for result in results}

    def due(self, stage: Stage[Any, Any], done: Results) -> StageRun[Any]:
        """The run of a stage as it would be now, decided, on what the stages it needs made."""
        run = self.asked(stage, done)
        return replace(run, decision=decide(run))

    def asked(self, stage: Stage[Any, Any], done: Results) -> StageRun[Any]:
        """The same before it is decided."""
        config = self.config
        return StageRun(
            stage=stage,
            config=config.stage_config(stage.name),
            shared=config.shared(),
            inputs={need: done[need].manifest for need in stage.read_of(done)},
            workspace=self.place,
        )

    def _perform(self, run: StageRun) -> StageResult:
        return perform(run, self.progress)


def perform(run: StageRun, progress: Progress = SILENT) -> StageResult:
    """A stage, in this process."""
    return reuse_or_build(replace(run, progress=progress), execute)


def computed(results: Results) -> dict[str, int]:
    """How many items each stage computed in this run; 0 for a stage that was reused whole."""
    return {name: result.summary.computed if result.built else 0 for name, result in results.items()}


def set_aside(result: StageResult) -> list[Quarantined]:
    return read_quarantine(result.manifest)


def tree(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every file below a folder, with what changes when it is written: inode, size and time."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            stat = path.stat()
            found[path.relative_to(folder).as_posix()] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return found


@contextmanager
def moved_away(path: Path) -> Iterator[None]:
    """`path` is not there inside the block."""
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)


def copied(source: Path, target: Path) -> Path:
    shutil.copytree(source, target, symlinks=True)
    return target
