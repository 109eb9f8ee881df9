"""Read footage that others may write meanwhile; the one place that tells a fault of content from one of the moment."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from datasets_spec.quarantine import QuarantineReason
from ltx_core.errors import ChangedError, DataError, TransientError
from ltx_core.io.digest import DigestMemo, FileState
from ltx_core.media.errors import MediaError

T = TypeVar("T")
TRIES = 2
"""A file that was touched, or away for a moment, is read again; one that goes on changing is quarantined."""


def never(_result: object) -> bool:
    """No result says anything bad."""
    return False


def read_unchanged(
    files: Mapping[Path, str],
    memo: DigestMemo,
    read: Callable[[], T],
    is_doubtful: Callable[[T], bool] = never,
) -> T:
    """Return what `read` makes of files that had the bytes of these digests before, after and all the while.

    Size, times and inode are looked at before and after; bytes where they differ from what `memo` knows. So the result
    may be kept by the digests. Bad news is believed only if the bytes, read whole once more, are still those: what
    `read` raises, and a result that `is_doubtful`. So no verdict on content comes from a disk or a network that failed.

    Raises:
        MediaError: CHANGED, a file has other bytes, or changed while it was read; UNREADABLE, one is away, forbidden,
            or its disk failed: both hold for now and must not be kept by content. Else what `read` raised.
    """
    fault: DataError | TransientError | None = None
    for _ in range(TRIES):
        before = _seen(files, memo)
        try:
            made = read()
        except (DataError, TransientError) as error:
            fault, doubtful = error, True
        else:
            fault, doubtful = None, is_doubtful(made)
        if _seen(files, memo, again=doubtful) == before:
            if fault is None:
                return made
            if not _may_pass(fault):
                raise fault
    if fault is not None and _may_pass(fault):
        raise MediaError(QuarantineReason.UNREADABLE, str(fault)) from fault
    raise _changed(next(iter(files)))


def unreadable(path: Path, error: OSError) -> MediaError:
    """The verdict on a file that cannot be read now."""
    return MediaError(
        QuarantineReason.UNREADABLE,
        f"{path} cannot be read: {error.strerror}; check that it is there, its permissions and its disk. The next run "
        f"looks again.",
    )


def _seen(files: Mapping[Path, str], memo: DigestMemo, *, again: bool = False) -> dict[Path, tuple[object, ...]]:
    """The state of each file and, where its path is a link, of the link.

    Raises:
        MediaError: CHANGED or UNREADABLE.
    """
    found: dict[Path, tuple[object, ...]] = {}
    for path, digest in files.items():
        try:
            if memo.get(path, again=again, watch=False) != digest:
                raise _changed(path)
            link = path.lstat()
            found[path] = (FileState.of(path), link.st_ino, link.st_ctime_ns)
        except ChangedError as error:
            raise _changed(path) from error
        except OSError as error:
            raise unreadable(path, error) from error
    return found


def _changed(path: Path) -> MediaError:
    return MediaError(
        QuarantineReason.CHANGED,
        f"{path} changed while this run read it, or is still being written; nothing is kept of it. Leave it as it is, "
        f"and run again.",
    )


def _may_pass(fault: Exception) -> bool:
    return isinstance(fault, TransientError) or (isinstance(fault, MediaError) and fault.reason.may_pass)
