"""Run a stage body under its folder's lock, and commit: quarantine and summary first, the manifest last."""

import time
from pathlib import Path
from typing import Any

from datasets_spec import Manifest, Quarantined, write_manifest
from ltx_core.errors import LtxError
from ltx_core.files.atomic import find_whole, remove_partials, storage_errors
from ltx_core.files.digest import file_digest
from ltx_core.files.json_file import write_json
from ltx_core.files.lock import folder_lock
from ltx_core.files.regular import open_regular
from tasks.stage import Outcome, identity_key
from tasks.stage_run import StageRun
from tasks.summary import Summary, check_quarantine, read_summary, summarize

ALWAYS = ("config.json", "identity.json", "quarantine.parquet")
"""Files that every stage has beside its manifest."""


def execute(run: StageRun) -> Summary:
    """Run the stage unless another process has finished it meanwhile.

    Raises:
        LtxError: what the stage found wrong; whatever it had finished is kept.
    """
    with folder_lock(run.out, run.progress, run.doing):
        if run.manifest.exists():
            if not run.force and not run.decided.stale:
                return read_summary(run.manifest)  # another process finished it meanwhile
            run.manifest.path.unlink()
        remove_partials(run.out)
        with storage_errors(run.out):
            write_json(run.out / "config.json", run.config.model_dump(mode="json"), indent=2)
            write_json(run.out / "identity.json", run.decided.identity, indent=2)
            return _run_body(run)


def _run_body(run: StageRun) -> Summary:
    stage, key, started = run.stage, run.decided.key, time.monotonic()
    for notice in stage.notices(run.config, run.shared):
        run.progress.note(notice)
    outcome = stage.run(run)
    run.memo.save()
    write_manifest(run.out / "quarantine.parquet", Quarantined, outcome.quarantined)
    seconds = time.monotonic() - started
    summary = summarize(stage.name, key, outcome, seconds, _digests(run), settled=_is_settled(run, outcome))
    check_quarantine(summary, run.shared.limits.max_quarantined_fraction)
    write_json(run.out / "summary.json", summary.model_dump(mode="json"), indent=2)
    write_manifest(run.manifest.path, stage.makes, outcome.rows)
    run.workspace.set_latest(stage.name, key)
    return summary


def _is_settled(run: StageRun, outcome: Outcome) -> bool:
    """Whether the next run may take the result as it is: nothing went by what held for a moment only.

    The first stage names in its key the files that cannot be read, so that these are looked at before it is reused.
    """
    passing = [row for row in outcome.quarantined if row.reason.may_pass]
    if passing and (run.stage.needs or any(_is_readable(Path(row.path)) for row in passing)):
        return False
    return _is_as_named(run)


def _is_readable(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            file.read(1)
    except OSError:
        return False
    return True


def _is_as_named(run: StageRun) -> bool:
    """Whether the world still is what the stage's key says: footage, captions, weights, and all else it observes."""
    try:
        now = run.identity(run.memo)
    except (LtxError, OSError):  # it is away or being written; the next run says so if it is still
        return False
    return identity_key(now) == run.decided.key


def read_quarantine(manifest: Manifest[Any]) -> list[Quarantined]:
    """What the execution that wrote this manifest set aside."""
    return list(Manifest(manifest.path.parent / "quarantine.parquet", Quarantined))


def _digests(run: StageRun) -> dict[str, str]:
    """Of every file in the stage's folder that belongs to the result, but for the manifest, which has its own."""
    patterns = (*ALWAYS, *run.stage.artifacts)
    files = sorted({file for pattern in patterns for file in find_whole(run.out, pattern) if file.is_file()})
    return {file.relative_to(run.out).as_posix(): file_digest(file) for file in files}
