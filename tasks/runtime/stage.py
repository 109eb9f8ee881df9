"""A stage, declared once, and one run of it.

A stage is one subclass of `Stage` in tasks/stages/<name>.py, whose instance is in `tasks.STAGES`. The Prefect task, the
CLI, the docs and the contract tests read its attributes. RunConfig has a field for each stage, written by hand, and
tests/repo/test_declared_once.py compares the two.

Results are kept by what they were made of, and the program is a part of that. Its part is one version for each stage:
the stage's own `version`, and those of the `subjects` that it declares. Both enter the stage's identity and the keys of
its items, so that a raise makes the stage run again and compute every item anew, and the plan says why.

To raise one: when a change makes the same input give another result, add one to the subject here if several stages
compute with what you changed, else to `version` in that stage's class. Once a release is enough. Nothing else refers
to the number. Raise nothing for a change that leaves results as they are, such as a faster way or a clearer message.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel

from datasets_spec import Manifest, Quarantined, Record
from ltx_core.checkpoint.model import Model
from ltx_core.io.digest import DigestMemo
from ltx_core.progress import SILENT, Progress
from tasks.runtime.shared import Shared
from tasks.runtime.weights import open_model
from tasks.runtime.workspace import Workspace

if TYPE_CHECKING:
    from ltx_core.hub.repository import PendingFile


@dataclass(frozen=True)
class Subject:
    """A part of the program that more than one stage's results depend on."""

    name: str
    """As messages call it."""
    version: int
    """From 1 on, and only ever raised."""


DECODING = Subject("decoding", 3)
"""Files of video, audio, masks and images to frames, samples and times: ltx_core/media."""
AUTOENCODERS = Subject("autoencoders", 1)
"""Frames and audio to latents and back: ltx_core/autoencoder."""
TRANSFORMER = Subject("transformer", 2)
"""A step of the denoiser with its text contexts, in every precision: ltx_core/denoiser, ltx_core/engine. Kept 8-bit
weights carry it too."""
SUBJECTS = (DECODING, AUTOENCODERS, TRANSFORMER)


ConfigT = TypeVar("ConfigT", bound=BaseModel)
ConfigT_co = TypeVar("ConfigT_co", bound=BaseModel, covariant=True)
RowT = TypeVar("RowT", bound=Record)
Inputs = Mapping[str, Manifest[Any]]
Observed = Mapping[str, Any]
Sections = Callable[[str], Any]
"""The config of any stage, by the stage's name."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a stage's body. `num_in` items came; those in `quarantined` do not go on, all others do. Of those
    that go on, `computed` were made in this run, and the rest was there."""

    rows: Sequence[Record]
    quarantined: Sequence[Quarantined] = ()
    num_in: int
    num_out: int
    computed: int
    unit: str
    """Name of an item for people, in the plural."""
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """A finding whether a stage's output is there.

    Attributes:
        key: Names the output; 16 hex digits of the identity's digest.
        identity: Everything that the output depends on.
        reusable: The output is there, whole.
        why: The reason for people, such as "unchanged" or "changed: config.steps 10 -> 20".
        stale: The manifest is there, but it is damaged, or a file that belongs to the result is damaged or gone, or it
            was made of files that could not be read then.
    """

    key: str
    identity: Mapping[str, Any]
    reusable: bool
    why: str
    stale: bool = False


@dataclass(frozen=True, kw_only=True)
class StageRun(Generic[ConfigT_co]):
    """One run of one stage: asked for by a flow, decided, handed to a process of its own, given to the stage's body.

    Attributes:
        stage: The stage.
        config: The stage's own options, of the class `stage.config`.
        shared: Options that several stages read.
        inputs: Manifests of the stages that it reads, by their names; of those that are finished, while a run is
            planned.
        workspace: Where inputs, store and output lie.
        force: Compute anew, whatever is there.
        progress: Reports how far the body is, and says when it must stop. Where no body runs, it gets the pace of
            reading weights for their digest.
        decision: The name of the output and why it is made; None until `tasks.runtime.decide` was asked.
        later: The stages that come after it in the same run.
    """

    stage: "Stage[Any, Any]"
    config: ConfigT_co
    shared: Shared
    inputs: Inputs
    workspace: Workspace
    force: bool = False
    progress: Progress = SILENT
    decision: Decision | None = None
    later: "Sequence[Stage[Any, Any]]" = ()

    @property
    def decided(self) -> Decision:
        """The decision, which was made."""
        assert self.decision is not None, f"{self.stage.name} runs before it was decided what it makes"
        return self.decision

    @property
    def out(self) -> Path:
        """The folder of the output."""
        return self.workspace.stage(self.stage.name, self.decided.key)

    @cached_property
    def manifest(self) -> Manifest[Any]:
        """The output's rows, once the run is finished; one object, which reads their digest once."""
        return self.stage.manifest(self.out)

    @property
    def version(self) -> str:
        """The program's part of every key that the body gives an item."""
        return self.stage.full_version

    @property
    def doing(self) -> str:
        """Description for others who wait for a folder or a GPU that this run holds."""
        return f"{self.stage.name} in {self.workspace.root.resolve()}"

    @property
    def num_ranks(self) -> int:
        """As how many processes on this machine the body runs."""
        return self.stage.num_ranks(self)

    @cached_property
    def model(self) -> Model:
        """The model, opened once for the body. An identity asks `open_model` anew, which sees whether files changed.

        Raises:
            LtxError: as for `tasks.runtime.weights.open_model`.
        """
        return open_model(self.shared.model)

    @cached_property
    def memo(self) -> DigestMemo:
        """Digests of the files that the stage reads; `memo.check()` sees that they are still those."""
        return self.workspace.digest_memo(self.progress)

    def identity(self) -> dict[str, Any]:
        """Everything that the output depends on, as JSON: the stage's own config, what it observes outside as the files
        are now, and its inputs.

        Options have the names that they had first, so that renaming one changes no key. Versions stand for the code:
        a task cache keyed by source does not see functions that the task calls.
        """
        stage = self.stage
        return {
            "stage": stage.name,
            "version": stage.version,
            "subjects": {subject.name: subject.version for subject in stage.subjects},
            "config": self.config.model_dump(
                mode="json", exclude=set(stage.not_in_key | stage.by_content), by_alias=True
            ),
            "outside": dict(stage.observe(self)),
            "inputs": {name: stage.input_digest(name, self.inputs) for name in stage.read_of(self.inputs)},
        }


def identity_key(identity: Mapping[str, Any]) -> str:
    """Name of the output: changes when, and only when, the identity does. 16 hex digits."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


class Stage(Generic[ConfigT, RowT]):
    """One step of the pipeline: attributes that declare it, its body, and what can be asked of it before.

    The methods are asked one after the other, each at a moment of its own, which is why they are not one:

    1. `off_reason`, by the options of all stages, when it is decided which stages a run has.
    2. `check`, on this machine alone: nobody waits for the hub to hear of a misspelt folder.
    3. `downloads`, which asks the hub and fetches nothing: `plan` tells the sizes.
    4. `prepare`, which fetches: only a run does.
    5. `observe`, once all files are here: the stage's key.
    6. `outdated`, of a finished result with that key.
    7. `memory`, once the stages before are decided too: it may read what they made.
    8. `warnings`, in a plan, whatever is still to be downloaded, and again when the body starts.
    9. `run`, the body.
    """

    name: ClassVar[str]
    config: type[ConfigT]
    needs: ClassVar[tuple[str, ...]] = ()
    """Stages whose results are read."""
    makes: type[RowT]
    version: int
    """Raised by one when the same input would give another result than before; see the head of this file."""
    subjects: tuple[Subject, ...] = ()
    """Parts of the program, shared with other stages, that the result depends on too."""
    device: ClassVar[Literal["cpu", "gpu"]] = "cpu"
    imports: ClassVar[tuple[str, ...]] = ()
    """Modules that the body imports and that take seconds, all libraries of models with them. They are imported before
    its process is forked, so none may touch a GPU or start a thread when it is imported."""
    num_spares: ClassVar[int] = 0
    """Processes beside its own that may compile for it; see `tasks.runtime.spare`."""
    has_ranks: ClassVar[bool] = False
    """Its body may run as several processes, on as many GPUs and machines as `memory` says."""
    needs_weights: ClassVar[bool] = False
    """Reads the model, which may have to be downloaded first."""
    uses: ClassVar[tuple[str, ...]] = ()
    """Stages whose results are read too, where those are not off."""
    reads: ClassVar[Mapping[str, Callable[[Inputs], str]]] = {}
    """Digest of the part of an input that is read, where that is not all of it; by the input's name."""
    not_in_key: ClassVar[frozenset[str]] = frozenset()
    """Options that leave the result as it is, so that changing them redoes nothing."""
    by_content: ClassVar[frozenset[str]] = frozenset()
    """Options that name files: `observe` has what is in the files, and where they lie changes nothing."""
    items: ClassVar[str] = ""
    """Glob pattern, in the store, of the files that hold its items, from which a lost manifest is made again without
    computing them. Empty if it keeps none."""
    artifacts: ClassVar[tuple[str, ...]] = ()
    """Glob patterns, in the stage's folder, of files worth showing in MLflow."""

    def off_reason(self, sections: Sections) -> str | None:
        """Why the stage, as it and others are configured, does nothing, so that runs and plans leave it out; None if it
        does something."""
        return None

    def check(self, run: StageRun[ConfigT]) -> None:
        """See, without the network, that files and folders which the options name on this machine are there and are
        what they should be.

        Raises:
            LtxError: one is not; names it.
        """

    def downloads(self, run: StageRun[ConfigT]) -> "Sequence[PendingFile]":
        """Files that would have to be downloaded beside the weights.

        Raises:
            LtxError: it cannot be had, or the hub cannot be asked.
        """
        return ()

    def prepare(self, run: StageRun[ConfigT]) -> ConfigT:
        """Download that, and see from small files and headers alone that the stage can work, before any stage computes
        anything.

        Returns:
            The config with what was found named for good, so that no one asks the network again.

        Raises:
            LtxError: something is missing, does not fit, or cannot be downloaded.
        """
        return run.config

    def observe(self, run: StageRun[ConfigT]) -> Observed:
        """Facts outside that the result depends on besides options and inputs, as JSON; none for a stage that reads
        only its inputs. Files are known by `run.memo`."""
        return {}

    def outdated(self, run: StageRun[ConfigT], manifest: Manifest[RowT]) -> str | None:
        """Why a finished result must be made again though all that it is named by is the same: a file that the stage
        keeps for people elsewhere is not what the rows say; None if it need not."""
        return None

    def memory(self, run: StageRun[ConfigT]) -> Sequence[str]:
        """Lines for the plan: what the stage will take of the GPU and of the host, and how it keeps within; or what it
        will do to its input.

        Raises:
            OutOfMemory: it cannot fit.
        """
        return ()

    def warnings(self, run: StageRun[ConfigT]) -> Sequence[str]:
        """Lines for people on what is allowed but likely not meant."""
        return ()

    def run(self, run: StageRun[ConfigT]) -> Outcome:
        """Make the rows.

        Raises:
            LtxError: what it finds wrong; what it has finished is kept.
        """
        raise NotImplementedError

    def num_ranks(self, run: StageRun[ConfigT]) -> int:
        """As how many processes of one machine the body runs; the first of them alone writes and reports."""
        return 1

    @property
    def summary(self) -> str:
        """The first line of its file, which says what it does."""
        return str(sys.modules[type(self).__module__].__doc__).splitlines()[0]

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

    def manifest(self, folder: Path) -> Manifest[RowT]:
        """The manifest this stage leaves in `folder`."""
        return Manifest(folder / "manifest.parquet", self.makes)
