"""The Hugging Face hub's client: what a download brings and its progress, an upload in one commit, and what to do where
they fail. No torch.
"""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token, hf_hub_download, snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined] # HTTPError: the client's HTTP library, not named
    DryRunError,
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import tqdm

from ltx_core.errors import CheckpointError, ConfigError, LtxError, TransientError
from ltx_core.hub.repository import WEIGHTS_SUFFIX, PendingFile, Repository
from ltx_core.io.atomic import storage_errors
from ltx_core.progress import Progress

Bar = type[tqdm]
"""A class of progress bars."""
DISK_FULL = f"os error {errno.ENOSPC}"
"""Message of hf_xet, which downloads large files, about a full disk."""

RETRIED = (408, 425, 429)
"""Statuses besides 5xx that pass by themselves."""
MIB = 2**20


def fetch_files(repository: Repository, names: Sequence[str], bar: Bar | None = None) -> tuple[Path, ...]:
    """Download files, all of one commit; what is already here is not fetched again. `bar`: default the hub's own.

    Raises:
        CheckpointError: offline, not allowed, or not there; says which and what to do.
        TransientError: the network or the hub failed.
        StorageError: the disk is full.
    """
    paths: list[Path] = []
    revision = repository.revision
    for name in names:
        with hub_errors(repository, name):
            paths.append(Path(hf_hub_download(filename=name, tqdm_class=bar, **repository.asked(revision))))
        revision = commit_of(paths[0]) or revision
    return tuple(paths)


def has_file(repository: Repository, name: str) -> bool:
    """Return whether the repository has a file, small enough to be fetched in order to know.

    Raises:
        CheckpointError, TransientError: as for `fetch_files`, but not for a file that is not there.
    """
    try:
        with hub_errors(repository, name):
            hf_hub_download(filename=name, **repository.asked())
    except CheckpointError as error:
        if is_absent(error):
            return False
        raise
    return True


def is_absent(error: CheckpointError) -> bool:
    """Return whether what failed is a file that the repository, or offline its cache, does not have."""
    return isinstance(error.__cause__, EntryNotFoundError)


def fetch_folder(
    repository: Repository, allow: Sequence[str], ignore: Sequence[str] = (), bar: Bar | None = None
) -> Path:
    """Download the files that match `allow` and not `ignore`; the folder they are in.

    Raises:
        CheckpointError, TransientError, StorageError: as for `fetch_files`.
    """
    asked = {"allow_patterns": list(allow), "ignore_patterns": list(ignore), **repository.asked()}
    with hub_errors(repository, ", ".join(allow)):
        return Path(snapshot_download(tqdm_class=bar, **asked))


def commit_of(path: Path) -> str | None:
    """The commit that a file of the cache is of: .../snapshots/<commit>/<name>."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else None


@contextmanager
def hub_errors(repository: Repository, what: str) -> Iterator[None]:
    """Say what the client's errors mean for `what` of a repository, and what to do.

    Raises:
        CheckpointError, TransientError, StorageError: as for `fetch_files`.
    """
    with storage_errors(repository.cache or Path(constants.HF_HUB_CACHE)):
        try:
            yield
        except (HfHubHTTPError, EntryNotFoundError, FileMetadataError, HFValidationError) as error:
            raise _explained(error, repository, what) from error
        except (
            HTTPError,
            ConnectionError,
            TimeoutError,
            RuntimeError,
        ) as error:  # RuntimeError: all that hf_xet raises
            if DISK_FULL in str(error):
                raise OSError(errno.ENOSPC, str(error)) from error
            raise TransientError(f"fetching {what} of {repository.name} failed: {error!r}; run it again") from error


def _explained(error: Exception, repository: Repository, what: str) -> LtxError:
    if isinstance(error, LocalEntryNotFoundError):
        return _not_here(error, repository, what)
    name, page = repository.name, f"{constants.ENDPOINT}/{repository.name}"
    login = "log in here with `hf auth login` or set HF_TOKEN"
    known = (
        (
            GatedRepoError,
            f"{name} is gated and this account may not read it. Accept the licence at {page}, then {login}.",
        ),
        (RepositoryNotFoundError, f"{name} is not on the hub, or private. Check the name; if it is private, {login}."),
        (RevisionNotFoundError, f"{name} has no revision {repository.revision}; see {page}"),
        (EntryNotFoundError, f"{name} has no file {what}; set another flavour, file or repository, see {page}"),
    )
    if message := next((message for kind, message in known if isinstance(error, kind)), None):
        return CheckpointError(message)
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
    if status in (401, 403):
        return CheckpointError(f"the hub refused {what} of {name}. Accept the licence at {page}, then {login}.")
    if status >= 500 or status in RETRIED:
        return TransientError(f"the hub answered {status} to {what} of {name}; it may work later")
    return CheckpointError(f"the hub did not give {what} of {name}: {error}")


def _not_here(error: Exception, repository: Repository, what: str) -> LtxError:
    """Neither in the cache nor reachable."""
    if repository.here_only:
        return CheckpointError(f"{what} of {repository.name} is not downloaded yet; `ltx2-lora run` downloads it")
    if constants.HF_HUB_OFFLINE:
        one_file = f" {what}" if what.endswith(WEIGHTS_SUFFIX) else ""  # a repository may have ten models
        return CheckpointError(
            f"{what} of {repository.name} is not in {repository.cache or constants.HF_HUB_CACHE} and HF_HUB_OFFLINE "
            f"forbids to download it. Unset HF_HUB_OFFLINE, run `hf download {repository.name}{one_file}` where "
            "there is a network, or give a local path."
        )
    if isinstance(error.__cause__, HfHubHTTPError | FileMetadataError):
        return _explained(error.__cause__, repository, what)
    return TransientError(
        f"{what} of {repository.name} is not in {repository.cache or constants.HF_HUB_CACHE} and the hub cannot be "
        f"reached ({error.__cause__}). Check the network, or give a local path."
    )


def pending_files(repository: Repository, names: Sequence[str]) -> tuple[PendingFile, ...]:
    """Those of the files that `fetch_files` would download.

    Raises:
        CheckpointError, TransientError: as for `fetch_files`.
    """
    found = []
    for name in names:
        with hub_errors(repository, name):
            found.append(hf_hub_download(filename=name, dry_run=True, **repository.asked()))
    return _missing(repository, found)


def pending_folder(repository: Repository, allow: Sequence[str], ignore: Sequence[str] = ()) -> tuple[PendingFile, ...]:
    """The files that `fetch_folder` would download.

    Raises:
        CheckpointError, TransientError: as for `fetch_folder`.
    """
    asked = {"allow_patterns": list(allow), "ignore_patterns": list(ignore), **repository.asked()}
    try:
        with hub_errors(repository, ", ".join(allow)):
            return _missing(repository, snapshot_download(dry_run=True, **asked))
    except DryRunError:  # the hub cannot be asked: what is here must do
        fetch_folder(replace(repository, here_only=True), allow, ignore)
        return ()


def _missing(repository: Repository, found: Sequence[Any]) -> tuple[PendingFile, ...]:
    return tuple(PendingFile(repository.name, file.filename, file.file_size) for file in found if file.will_download)


def reporting_bar(progress: Progress) -> Bar:
    """A class of bars for the hub's client that draw nothing and tell `progress`, in MiB of each file."""

    class Reporting(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            counts_bytes = options.get("unit") == "B" and not str(options.get("name", "")).endswith(".transfer")
            super().__init__(*args, **{**options, "file": StringIO(), "disable": not counts_bytes})

        def display(self, *_: Any, **__: Any) -> None:
            if self.total:
                progress.advance(int(self.n / MIB), -(-int(self.total) // MIB), f"MiB of {self.desc}")

    return Reporting


LOGIN = "log in here with `hf auth login`, or set HF_TOKEN, with a token that may write"
AGAIN = "nothing else is lost; run `publish` again"
PASSING = (*RETRIED, 409)
"""The same of uploads: another commit may have come between."""


def may_upload() -> bool:
    """Return whether a token is known here; the hub alone knows what it allows."""
    return get_token() is not None


def page_of(repository: str) -> str:
    """Address of a repository, of the endpoint that the client is set to."""
    return f"{constants.ENDPOINT}/{repository}"


def upload(repository: str, files: Sequence[tuple[str, Path]], *, private: bool, message: str) -> tuple[str, str]:
    """Make the repository if it is not there, and commit the files; those that it has already are not sent again. Gives
    the repository's full name, `owner/name`, and the commit that has the files: the newest one if it had all of them.

    Args:
        repository: `owner/name`, or a name alone for the account's own.
        files: name in the repository, and the file here.
        private: for a repository that is made; one that exists stays as it is.
        message: of the commit.

    Raises:
        ConfigError: no token, not allowed, or no such name; no retry helps.
        TransientError: the network or the hub failed.
    """
    api = HfApi(token=True)
    with _upload_errors(repository):
        made = api.create_repo(repository, private=private, exist_ok=True)
        operations = [CommitOperationAdd(name, file) for name, file in files]
        commit = api.create_commit(made.repo_id, operations, commit_message=message)
    return made.repo_id, commit.oid


@contextmanager
def _upload_errors(repository: str) -> Iterator[None]:
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise ConfigError(
            f"uploading to {repository} needs an account of the hub, and there is none: {LOGIN}"
        ) from error
    except OfflineModeIsEnabled as error:
        raise ConfigError(f"HF_HUB_OFFLINE forbids to upload to {repository}; unset it") from error
    except HFValidationError as error:
        raise ConfigError(f"{repository!r} is no name of a repository: {error}") from error
    except HfHubHTTPError as error:
        raise _refused(error, repository) from error
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        # RuntimeError is all that hf_xet raises; ValueError, that the client does not understand the hub's answer.
        raise TransientError(f"uploading to {repository} failed: {error!r}; {AGAIN}") from error


def _refused(error: HfHubHTTPError, repository: str) -> LtxError:
    status = error.response.status_code
    if status >= 500 or status in PASSING:
        return TransientError(f"the hub answered {status} to an upload to {repository}; {AGAIN}")
    if status in (401, 403, 404):
        return ConfigError(
            f"the hub refused an upload to {repository} ({status}): the account may not write there. Check the name, "
            f"or {LOGIN}."
        )
    return ConfigError(f"the hub did not take an upload to {repository}: {error}")
