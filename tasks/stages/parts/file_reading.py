"""Files of footage read in worker processes, several at once; results in the files' order."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ltx_core.media.errors import MediaError
from ltx_core.media.workers import (
    Leaving,
    Window,
    default_workers,
    limits_of,
    never,
    read_apart,
    read_unchanged,
    run_ahead,
)
from ltx_core.progress import stop_if_asked
from ltx_core.store.json_items import ItemStore
from tasks.runtime.stage import StageRun


class FileJob(NamedTuple):
    """One file to read: `function(*arguments)`, a function of a module that imports no torch."""

    key: str
    files: Mapping[Path, str]
    """Files to read, with the digest that their bytes must have; first the one that may take its time."""
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    is_doubtful: Callable[[Any], bool] = never
    """True if a result says something bad of the file, see `read_unchanged`."""


def read_files(
    jobs: Sequence[FileJob],
    run: StageRun[Any],
    doing: str,
    *,
    workers: int | None = None,
    max_bytes: int = 0,
    size: Callable[[FileJob], int] = lambda _job: 0,
) -> Generator[tuple[str, Any], None, None]:
    """(key, result) of each job in order, of the bytes that it names; the result of a file that cannot be used, or that
    changed, is the MediaError.

    `workers`: default one for each core. `max_bytes`: of results that wait, of which `size` says how large they are;
    by default they count for nothing.

    Raises:
        Stopped: the stage was asked to stop.
    """
    workers = workers or default_workers()

    def read(job: FileJob, leaving: Leaving) -> Any:
        limits = limits_of(next(iter(job.files)), run.shared.limits.file_seconds, min(workers, len(jobs)))
        apart = partial(read_apart, limits, leaving.check, job.function, *job.arguments)
        return read_unchanged(job.files, run.memo, apart, job.is_doubtful)

    results = run_ahead(
        jobs,
        read,
        size=size,
        window=Window(workers, max_bytes),
        check=lambda: stop_if_asked(run.progress, doing),
        apart=MediaError,
    )
    with closing(results) as found:
        for job, result in found:
            yield job.key, result


def get_or_read(
    jobs: Sequence[FileJob],
    run: StageRun[Any],
    store: ItemStore,
    doing: str,
    as_json: Callable[[Any], Any],
    *,
    total: int,
) -> tuple[dict[str, Any], set[str]]:
    """Results by key, as JSON: those that the store has, unless the run is forced; the others are read and kept. And
    the keys of those that were read.

    The result of a file that cannot be used is the MediaError. It is not kept, since the next look may go otherwise.
    `total`: the files that the run reports progress of; several may have one key.

    Raises:
        Stopped: the stage was asked to stop; what was read is kept.
    """
    known = {} if run.force else {job.key: kept for job in jobs if (kept := store.get(job.key)) is not None}
    missing = [job for job in jobs if job.key not in known]
    for done, (key, result) in enumerate(read_files(missing, run, doing), start=total - len(missing) + 1):
        known[key] = result if isinstance(result, MediaError) else as_json(result)
        if not isinstance(result, MediaError):
            store.put(key, known[key])
        run.progress.advance(done, total, "files")
    return known, {job.key for job in missing}


def read_file(
    run: StageRun[Any],
    doing: str,
    files: Mapping[Path, str],
    function: Callable[..., Any],
    *arguments: Any,
    is_doubtful: Callable[[Any], bool] = never,
) -> Any:
    """The result of a single job.

    Raises:
        MediaError: the file cannot be used, or changed.
        Stopped: the stage was asked to stop.
    """
    limits = limits_of(next(iter(files)), run.shared.limits.file_seconds, 1)
    apart = partial(read_apart, limits, lambda: stop_if_asked(run.progress, doing), function, *arguments)
    return read_unchanged(files, run.memo, apart, is_doubtful)
