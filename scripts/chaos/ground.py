"""What is disturbed: a miniature, five short files, an undisturbed run, and a copy of it before each stage."""

import hashlib
import json
import os
import random
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from flows.config import load_config
from flows.plan import required_manifest
from scripts.chaos.command import Command, run_and_wait
from scripts.chaos.page import Case
from tasks import STAGES, stage_named
from tasks.runtime.workspace import Workspace

FOOTAGE = ("ball_bounces", "ball_rolls", "bar_turns", "bubbles_rise", "hills_pass")
"""Files of the miniature that are kept: each holds few clips, so that a stage takes seconds."""
CONTENT_SUFFIXES = (".mp4", ".safetensors")
BYTES = "bytes differ"
UNCOMPARED_STAGES = ("register", "publish")
"""They number what they make, and a second try is a second version."""


@dataclass(frozen=True)
class Ground:
    """A folder with a miniature, its configuration, and the undisturbed run.

    Attributes:
        folder: Holds `model/`, `footage/`, `given/`, the configuration and the workspace.
        contents: Digest of every item that the undisturbed run stored, by its name.
        digests: Digest of every stage's rows in the undisturbed run.
        seconds: How long each stage took alone, undisturbed.
    """

    folder: Path
    contents: dict[str, str]
    digests: dict[str, str]
    seconds: dict[str, float]

    @property
    def config(self) -> Path:
        return self.folder / "ltx2-lora.yaml"

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.folder / "workspace")

    def before(self, stage: str) -> Path:
        """The copy of the workspace in which everything before `stage` is done."""
        return self.folder / "before" / stage

    def restore(self, stage: str) -> None:
        """Put the workspace back to what it was before `stage`."""
        empty(self.workspace.root)
        shutil.copytree(self.before(stage), self.workspace.root, dirs_exist_ok=True)

    def begun(self, chance: random.Random, stage: str, *, most: float, terminal: bool = False) -> tuple[Command, float]:
        """A run of one stage that is at work, at a random moment of its usual time, which it may take `most` times; and
        the moment."""
        delay = chance.uniform(0.0, most) * self.seconds[stage]
        self.restore(stage)
        command = Command("run", self.config, "--only", stage, terminal=terminal)
        command.watch(lambda: command.process.poll() is not None, delay)
        return command, delay

    def again(self, stage: str, what: str, problem: str = "", environment: Mapping[str, str] | None = None) -> Case:
        """The run after a disturbance, which must end in the undisturbed bytes; `problem`: of the disturbed one."""
        ended = run_and_wait("run", self.config, "--only", stage, environment=environment)
        return Case(what, problem or ended.failure or self.differences(stage), ended.first_stage)

    def differences(self, last: str | None = None) -> str:
        """What is not as in the undisturbed run, up to and with the stage `last`; an empty string where all is."""
        names = [stage.name for stage in STAGES if stage.name in self.digests]
        names = names[: names.index(last) + 1] if last else names
        wrong = [name for name in names if rows_digest(self.workspace, name) != self.digests[name]]
        found = contents_of(self.workspace)
        changed = [name for name, digest in found.items() if digest != self.contents.get(name, digest)]
        return "; ".join(
            f"{what}: {', '.join(sorted(which)[:4])}"
            for what, which in (("rows differ", wrong), (BYTES, changed))
            if which
        )


def make_ground(folder: Path, last: str | None = None) -> Ground:
    """Write the miniature, run each stage alone up to `last`, and keep a copy of the workspace before each.

    Raises:
        RuntimeError: an undisturbed stage failed; gives what it printed.
    """
    _write(folder)
    workspace = Workspace(folder / "workspace")
    workspace.root.mkdir(exist_ok=True)
    seconds, digests = {}, {}
    names = _stages_on(folder / "ltx2-lora.yaml")
    for name in names[: names.index(last) + 1] if last else names:
        shutil.copytree(workspace.root, folder / "before" / name)
        ended = run_and_wait("run", folder / "ltx2-lora.yaml", "--only", name)
        if ended.code:
            raise RuntimeError(f"the undisturbed {name} ended with exit code {ended.code}:\n{ended.output}")
        seconds[name] = ended.seconds
        if name not in UNCOMPARED_STAGES:
            digests[name] = rows_digest(workspace, name)
    shutil.copytree(workspace.root, folder / "before" / "end")
    ground = Ground(folder, contents_of(workspace), digests, seconds)
    (folder / "ground.json").write_text(json.dumps([ground.contents, digests, seconds]))
    return ground


def existing_ground(folder: Path) -> Ground | None:
    """The one that an earlier call made in this folder, if it got as far."""
    file = folder / "ground.json"
    return Ground(folder, *json.loads(file.read_text())) if file.exists() else None


def rows_digest(workspace: Workspace, stage: str) -> str:
    """Digest of the content of a stage's newest rows, in which the bytes of what they name are named by digest."""
    return required_manifest(stage_named(stage), workspace).digest


def contents_of(workspace: Workspace) -> dict[str, str]:
    """Digest of every stored item: members of shards by pool and name, renders, and LoRAs that stages ended with."""
    found = {}
    for pool in sorted(workspace.store.glob("*/*/")):
        for shard in sorted(pool.glob("[!.]*.tar")):
            found |= {f"{workspace.relative(pool)}/{name}": digest for name, digest in _members(shard)}
    files = [*workspace.store.glob("*/[!.]*"), *workspace.root.glob("stages/*/*/*.safetensors")]
    for file in files:
        if file.suffix in CONTENT_SUFFIXES:
            found[workspace.relative(file)] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def empty(folder: Path) -> None:
    """Delete what a folder holds, but not the folder, which may be a disk of its own."""
    for item in folder.iterdir():
        shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()


def _members(shard: Path) -> Iterator[tuple[str, str]]:
    with tarfile.open(shard) as tar:
        for member in tar:
            data = tar.extractfile(member)
            if data is not None:
                yield member.name, hashlib.sha256(data.read()).hexdigest()


def _stages_on(config: Path) -> list[str]:
    loaded = load_config(config, {})
    return [stage.name for stage in STAGES if not stage.off_reason(loaded.stage_config)]


def _write(folder: Path) -> None:
    """The miniature with few files and few steps."""
    from flows.tiny_config import write_config
    from ltx_core.tiny.model import write_miniature

    made = write_miniature(folder, generation="2.0", seed=0)
    path = write_config(folder, made)
    kept = {file for name in FOOTAGE for file in made.footage.glob(f"{name}.*")}
    for file in set(made.footage.iterdir()) - kept:
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    values = yaml.safe_load(path.read_text())
    values["datasets"][0] |= {"eval_fraction": 0.2, "repeats": 1, "video": {"num_frames": 9, "frame_rate": 25}}
    values["prompts"] = {"validation": values["prompts"]["validation"][:1]}
    values["train_lora"] |= {"steps": 12, "checkpoint_interval": 3, "eval_interval": 6, "rank": 4}
    values["render_validation"] |= {"num_frames": 9, "num_steps": 3, "image_to_video_clips": 0} | {
        "audio_to_video_clips": 0
    }
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    os.utime(path)
