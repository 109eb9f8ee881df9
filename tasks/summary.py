"""The counts a stage ends with. They must add up: in = out + quarantined."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from datasets_spec import Manifest, rows_digest
from ltx_core.errors import DataError
from ltx_core.files.json_file import read_json
from tasks.stage import Outcome


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
    """Whether the next run may take the result as it is. Not where an item could not be read, or where what the
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
        RuntimeError: an item came in and neither went on nor was quarantined; a defect of the stage.
    """
    quarantined = len(outcome.quarantined)
    if outcome.num_in != outcome.num_out + quarantined or outcome.computed + outcome.reused != outcome.num_out:
        raise RuntimeError(
            f"stage {stage} does not balance: {outcome.num_in} in, {outcome.num_out} out, {quarantined} quarantined, "
            f"{outcome.computed} computed, {outcome.reused} reused; please report this"
        )
    return Summary(
        stage=stage,
        key=key,
        unit=outcome.unit,
        num_in=outcome.num_in,
        num_out=outcome.num_out,
        num_quarantined=quarantined,
        computed=outcome.computed,
        reused=outcome.reused,
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
    """Refuse a stage that set aside too much.

    Raises:
        DataError: more than `limit` of the items are quarantined, or all are.
    """
    share = summary.num_quarantined / summary.num_in if summary.num_in else 0.0
    if share > limit or (summary.num_in and not summary.num_out):
        reasons = ", ".join(f"{count} {reason}" for reason, count in summary.quarantined_by_reason.items())
        raise DataError(
            f"{summary.stage} set aside {summary.num_quarantined} of {summary.num_in} {summary.unit} ({reasons}); "
            f"at most {limit:.0%} is allowed. See quarantine.parquet of the stage for each item, mend the footage, or "
            f"raise limits.max_quarantined_fraction."
        )
