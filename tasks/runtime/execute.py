"""Run a stage body under its folder's lock, and commit: quarantine and summary first, the manifest last."""

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from datasets_spec import Manifest, Quarantined, manifest_table, rows_digest
from ltx_core.errors import DataError, LtxError
from ltx_core.io.atomic import find_whole, remove_partials, storage_errors
from ltx_core.io.digest import file_digest
from ltx_core.io.json_file import read_json, write_json
from ltx_core.io.lock import folder_lock
from ltx_core.io.regular import open_regular
from ltx_core.io.table_file import write_table
from tasks.runtime.stage import Outcome, StageRun, identity_key


class Summary(BaseModel):
    """Counts of one execution of a stage; stored as `summary.json` beside the manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    key: str
    unit: str
    num_in: int
    num_out: int
    num_quarantined: int
    computed: int
    reused: int
    seconds: float
    quarantined_by_reason: Mapping[str, int]
    figures: Mapping[str, float]
    settled: bool = True
    """True if the next run may take the result as it is. Not where an item could not be read, or where what the
    stage is named by changed while it ran."""
    rows: str = ""
    """Digest of the manifest's rows; empty in what earlier releases wrote."""
    files: Mapping[str, str]
    """Digest of each file beside the manifest that belongs to the result, by its name in the stage's folder."""


def summarize(
    stage: str, key: str, outcome: Outcome, seconds: float, files: Mapping[str, str], *, settled: bool
) -> Summary:
    """Count, and refuse counts that do not add up.

    Raises:
        RuntimeError: an item came in and neither went on nor was quarantined, or more were computed than went on; a
            defect of the stage.
    """
    quarantined = len(outcome.quarantined)
    if outcome.num_in != outcome.num_out + quarantined or not 0 <= outcome.computed <= outcome.num_out:
        raise RuntimeError(
            f"stage {stage} does not balance: {outcome.num_in} in, {outcome.num_out} out, {quarantined} quarantined, "
            f"{outcome.computed} computed; please report this"
        )
    return Summary(
        stage=stage,
        key=key,
        unit=outcome.unit,
        num_in=outcome.num_in,
        num_out=outcome.num_out,
        num_quarantined=quarantined,
        computed=outcome.computed,
        reused=outcome.num_out - outcome.computed,
        seconds=round(seconds, 3),
        quarantined_by_reason=dict(sorted(Counter(q.reason.value for q in outcome.quarantined).items())),
        figures=dict(outcome.figures),
        settled=settled,
        rows=rows_digest(outcome.rows),
        files=dict(files),
    )


def read_summary(manifest: Manifest[Any]) -> Summary:
    """The counts of the execution that wrote this manifest.

    Raises:
        DamagedError: they cannot be read.
    """
    return Summary.model_validate(read_json(manifest.path.parent / "summary.json"))


def check_quarantine(summary: Summary, limit: float) -> None:
    """Refuse a stage that quarantined too much.

    Raises:
        DataError: more than `limit` of the items are quarantined, or all are.
    """
    fraction = summary.num_quarantined / summary.num_in if summary.num_in else 0.0
    if fraction > limit or (summary.num_in and not summary.num_out):
        reasons = ", ".join(f"{count} {reason}" for reason, count in summary.quarantined_by_reason.items())
        raise DataError(
            f"{summary.stage} quarantined {summary.num_quarantined} of {summary.num_in} {summary.unit} ({reasons}); "
            f"at most {limit:.0%} is allowed. See quarantine.parquet of the stage for each item, mend the footage, or "
            f"raise limits.max_quarantined_fraction."
        )


ALWAYS = ("config.json", "identity.json", "quarantine.parquet")
"""Files that every stage has beside its manifest."""


def execute(run: StageRun[Any]) -> Summary:
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


def _run_body(run: StageRun[Any]) -> Summary:
    stage, key, started = run.stage, run.decided.key, time.monotonic()
    for warning in stage.warnings(run):
        run.progress.note(warning)
    outcome = stage.run(run)
    run.memo.save()
    write_table(run.out / "quarantine.parquet", manifest_table(Quarantined, outcome.quarantined))
    seconds = time.monotonic() - started
    summary = summarize(stage.name, key, outcome, seconds, _digests(run), settled=_is_settled(run, outcome))
    check_quarantine(summary, run.shared.limits.max_quarantined_fraction)
    write_json(run.out / "summary.json", summary.model_dump(mode="json"), indent=2)
    write_table(run.manifest.path, manifest_table(stage.makes, outcome.rows))
    run.workspace.set_latest(stage.name, key)
    return summary


def _is_settled(run: StageRun[Any], outcome: Outcome) -> bool:
    """Return whether the next run may take the result as it is: nothing went by what held for a moment only.

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


def _is_as_named(run: StageRun[Any]) -> bool:
    """Return whether the world still is what the stage's key says: footage, captions, weights, and all else it
    observes."""
    try:
        now = run.identity()
    except (LtxError, OSError):  # it is away or being written; the next run says so if it is still
        return False
    return identity_key(now) == run.decided.key


def read_quarantine(manifest: Manifest[Any]) -> list[Quarantined]:
    """Return what the execution that wrote this manifest quarantined."""
    return list(Manifest(manifest.path.parent / "quarantine.parquet", Quarantined))


def _digests(run: StageRun[Any]) -> dict[str, str]:
    """Of every file in the stage's folder that belongs to the result, but for the manifest, which has its own."""
    patterns = (*ALWAYS, *run.stage.artifacts)
    files = sorted({file for pattern in patterns for file in find_whole(run.out, pattern) if file.is_file()})
    return {file.relative_to(run.out).as_posix(): file_digest(file) for file in files}
