"""A stage, declared once: the Prefect task, the CLI, the docs, RunConfig and the contract tests all read it."""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from datasets_spec import Manifest, Quarantined, Record
from ltx_core.files.digest import DigestMemo
from ltx_core.progress import Progress
from tasks.shared import Shared
from tasks.subjects import Subject
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from ltx_core.checkpoint.pending import PendingFile
    from tasks.stage_run import StageRun

Inputs = Mapping[str, Manifest[Any]]
Observed = Mapping[str, Any]
Sections = Callable[[str], Any]
"""The config of any stage, by the stage's name."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a stage body hands back. `num_in` items came; those in `quarantined` do not go on, all others do."""

    rows: Sequence[Record]
    quarantined: Sequence[Quarantined] = ()
    num_in: int
    num_out: int
    computed: int
    reused: int
    unit: str
    figures: Mapping[str, float] = field(default_factory=dict)


def one_process(_config: Any, _shared: Shared) -> int:
    """For a body that is no other's rank."""
    return 1


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of the pipeline."""

    name: str
    summary: str
    config: type[BaseModel]
    needs: tuple[str, ...]
    makes: type[Record]
    run: "Callable[[StageRun], Outcome]"
    observe: Callable[[Any, Shared, DigestMemo], Observed]
    version: int
    """Raised by one when the same input would give another result than before; tasks/subjects.py says how and when."""
    subjects: tuple[Subject, ...] = ()
    """Parts of the program, shared with other stages, that the result depends on too."""
    device: Literal["cpu", "gpu"] = "cpu"
    needs_weights: bool = False
    """Reads the model, which may have to be downloaded first."""
    reads: Mapping[str, Callable[[Inputs], str]] = field(default_factory=dict)
    """Digest of the part of an input that is read, where that is not all of it; by the input's name."""
    not_in_key: frozenset[str] = frozenset()
    """Options that leave the result as it is, so that changing them redoes nothing."""
    num_ranks: Callable[[Any, Shared], int] = one_process
    """As how many processes of one machine the body runs; the first of them alone writes and reports."""
    by_content: frozenset[str] = frozenset()
    """Options that name files: `observe` has what is in the files, and where they lie changes nothing."""
    off: Callable[[Any, Sections], str | None] = lambda _config, _sections: None
    """Why the stage, as it and others are configured, does nothing, so that runs and plans leave it out; None if it
    does something."""
    uses: tuple[str, ...] = ()
    """Stages whose results are read too, where those are not off."""
    artifacts: tuple[str, ...] = ()
    """Glob patterns, in the stage's folder, of files worth showing in MLflow."""
    check: Callable[[Any, Shared], None] = lambda _config, _shared: None
    """Sees, without the network, that files and folders which the configuration names on this machine are there and
    are what they should be. Asked first of all, so that nobody waits for the hub to hear of a misspelt folder. Raises
    for what is not."""
    pending: Callable[[Any, Shared], "Sequence[PendingFile]"] = lambda _config, _shared: ()
    """What would have to be downloaded beside the weights. Raises for what cannot be had."""
    prepare: Callable[[Any, Shared, Progress], Any] = lambda config, _shared, _progress: config
    """Downloads that, and sees from small files and headers alone that the stage can work, before any stage computes
    anything. Gives the config with what was found named for good."""
    notices: Callable[[Any, Shared], Sequence[str]] = lambda _config, _shared: ()
    """Lines for people on what is allowed but likely not meant: shown in the plan, and when the stage starts."""

    memory: Callable[[Any, Shared, Inputs, Workspace], Sequence[str]] = lambda *_: ()
    """Lines for the plan: what the stage will take of the GPU and of the host, and how it keeps within; or what it will
    do to its input. Given what the stages before have made so far. Raises OutOfMemory for what cannot fit."""

    def identity(self, config: BaseModel, shared: Shared, inputs: Inputs, memo: DigestMemo) -> dict[str, Any]:
        """Everything the output depends on, as JSON: the stage's own config, what it observes outside, its inputs.

        Versions stand for the code: a task cache keyed by source does not see functions that the task calls.
        """
        return {
            "stage": self.name,
            "version": self.version,
            "subjects": {subject.name: subject.version for subject in self.subjects},
            "config": config.model_dump(mode="json", exclude=set(self.not_in_key | self.by_content)),
            "outside": dict(self.observe(config, shared, memo)),
            "inputs": {name: self.input_digest(name, inputs) for name in self.read_of(inputs)},
        }

    @property
    def full_version(self) -> str:
        """Its own version and those of its subjects, as items' keys have them."""
        return ", ".join([str(self.version), *(f"{subject.name} {subject.version}" for subject in self.subjects)])

    def read_of(self, made: Collection[str]) -> tuple[str, ...]:
        """Names of the stages whose results are read, where those of `made` are on."""
        return (*self.needs, *(name for name in self.uses if name in made))

    def input_digest(self, name: str, inputs: Inputs) -> str:
        """Digest of what the stage reads of one input."""
        return self.reads[name](inputs) if name in self.reads else inputs[name].digest

    def manifest(self, folder: Path) -> Manifest[Any]:
        """The manifest this stage leaves in `folder`."""
        return Manifest(folder / "manifest.parquet", self.makes)


def identity_key(identity: Mapping[str, Any]) -> str:
    """Name of the output: changes when, and only when, the identity does. 16 hex digits."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def observe_nothing(_config: Any, _shared: Shared, _memo: DigestMemo) -> Observed:
    """For a stage that reads only its input manifests."""
    return {}
