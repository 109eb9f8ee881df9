"""One run of one stage: asked for by a flow, decided, handed to a process of its own, given to the stage's body."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from datasets_spec import Manifest
from ltx_core.files.digest import DigestMemo
from ltx_core.progress import SILENT, Progress
from tasks.shared import Shared
from tasks.stage import Inputs, Stage
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Decision:
    """Whether a stage's output is there.

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
class StageRun:
    """A stage, and everything that its body needs.

    Attributes:
        stage: The stage's declaration.
        config: The stage's own options, of the class `stage.config`.
        shared: Options that several stages read.
        inputs: Manifests of the stages that it reads, by their names.
        workspace: Where inputs, pool and output lie.
        force: Compute anew, whatever is there.
        progress: Is told how far the body is, and says when it must stop.
        decision: The name of the output and why it is made; None until `tasks.decide` was asked.
    """

    stage: Stage
    config: Any
    shared: Shared
    inputs: Inputs
    workspace: Workspace
    force: bool = False
    progress: Progress = SILENT
    decision: Decision | None = None

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
        """What others are told who wait for a folder or a GPU that this run holds."""
        return f"{self.stage.name} in {self.workspace.root.resolve()}"

    @property
    def num_ranks(self) -> int:
        """As how many processes on this machine the body runs."""
        return self.stage.num_ranks(self.config, self.shared)

    @cached_property
    def memo(self) -> DigestMemo:
        """Digests of the files that the stage reads; `memo.check()` sees that they are still those."""
        return self.workspace.digest_memo()

    def identity(self, memo: DigestMemo) -> dict[str, Any]:
        """Everything that the output depends on, as the files are now."""
        return self.stage.identity(self.config, self.shared, self.inputs, memo)
