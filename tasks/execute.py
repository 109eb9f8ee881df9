"""Run a stage body under its folder's lock, and commit: quarantine and summary first, the manifest last."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_spec import Manifest, Quarantined, write_manifest
from ltx_core.errors import LtxError
from ltx_core.files.atomic import find_whole, remove_partials, storage_errors
from ltx_core.files.digest import file_digest
from ltx_core.files.json_file import write_json
from ltx_core.files.lock import folder_lock
from ltx_core.files.regular import open_regular
from ltx_core.progress import Progress
from tasks.decide import Decision
from tasks.shared import Shared
from tasks.stage import Inputs, Outcome, Work, identity_key
from tasks.summary import Summary, check_quarantine, read_summary, summarize
from tasks.workspace import Workspace

ALWAYS = ("config.json", "identity.json", "quarantine.parquet")
"""Files that every stage has beside its manifest."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One stage about to run."""

    decision: Decision
    config: Any
    shared: Shared
    inputs: Inputs
    workspace: Workspace
    force: bool = False

    @property
    def doing(self) -> str:
        """What others are told who wait for a folder or a GPU that it holds."""
        return f"{self.decision.stage.name} in {self.workspace.root.resolve()}"

    def num_ranks(self) -> int:
        """As how many processes on this machine the stage runs."""
        return self.decision.stage.num_ranks(self.config, self.shared)

    def work(self, progress: Progress) -> Work:
        """What the stage's body is given."""
        return Work(
            config=self.config,
            shared=self.shared,
            inputs=self.inputs,
            out=self.decision.folder,
            workspace=self.workspace,
            progress=progress,
            version=self.decision.stage.full_version,
            force=self.force,
        )


def execute(run: Execution, progress: Progress) -> Summary:
    """Run the stage unless another process has finished it meanwhile.

    Raises:
        LtxError: what the stage found wrong; whatever it had finished is kept.
    """
    decision = run.decision
    with folder_lock(decision.folder, progress, run.doing):
        manifest = decision.stage.manifest(decision.folder)
        if manifest.exists():
            if not run.force and not decision.stale:
                return read_summary(manifest)  # another process finished it meanwhile
            manifest.path.unlink()
        remove_partials(decision.folder)
        with storage_errors(decision.folder):
            write_json(decision.folder / "config.json", run.config.model_dump(mode="json"), indent=2)
            write_json(decision.folder / "identity.json", decision.identity, indent=2)
            return _run_body(run, progress)


def _run_body(run: Execution, progress: Progress) -> Summary:
    decision, started = run.decision, time.monotonic()
    for notice in decision.stage.notices(run.config, run.shared):
        progress.note(notice)
    work = run.work(progress)
    outcome = decision.stage.run(work)
    work.memo.save()
    write_manifest(decision.folder / "quarantine.parquet", Quarantined, outcome.quarantined)
    seconds = time.monotonic() - started
    summary = summarize(
        decision.stage.name, decision.key, outcome, seconds, _digests(decision), settled=_is_settled(run, work, outcome)
    )
    check_quarantine(summary, run.shared.limits.max_quarantined_fraction)
    write_json(decision.folder / "summary.json", summary.model_dump(mode="json"), indent=2)
    write_manifest(decision.folder / "manifest.parquet", decision.stage.makes, outcome.rows)
    run.workspace.set_latest(decision.stage.name, decision.key)
    return summary


def _is_settled(run: Execution, work: Work, outcome: Outcome) -> bool:
    """Whether the next run may take the result as it is: nothing went by what held for a moment only.

    The first stage names in its key the files that cannot be read, so that these are looked at before it is reused.
    """
    passing = [row for row in outcome.quarantined if row.reason.may_pass]
    if passing and (run.decision.stage.needs or any(_is_readable(Path(row.path)) for row in passing)):
        return False
    return _is_as_named(run, work)


def _is_readable(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            file.read(1)
    except OSError:
        return False
    return True


def _is_as_named(run: Execution, work: Work) -> bool:
    """Whether the world still is what the stage's key says: footage, captions, weights, and all else it observes."""
    try:
        now = run.decision.stage.identity(run.config, run.shared, run.inputs, work.memo)
    except (LtxError, OSError):  # it is away or being written; the next run says so if it is still
        return False
    return identity_key(now) == run.decision.key


def read_quarantine(manifest: Manifest[Any]) -> list[Quarantined]:
    """What the execution that wrote this manifest set aside."""
    return list(Manifest(manifest.path.parent / "quarantine.parquet", Quarantined))


def _digests(decision: Decision) -> dict[str, str]:
    """Of every file in the stage's folder that belongs to the result, but for the manifest, which has its own."""
    patterns = (*ALWAYS, *decision.stage.artifacts)
    files = sorted({file for pattern in patterns for file in find_whole(decision.folder, pattern) if file.is_file()})
    return {file.relative_to(decision.folder).as_posix(): file_digest(file) for file in files}
