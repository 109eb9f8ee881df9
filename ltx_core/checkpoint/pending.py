"""What a download would bring, before it is begun; and its progress. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any

from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import DryRunError
from huggingface_hub.utils.tqdm import tqdm

from ltx_core.checkpoint.hub import Bar, Repository, fetch_folder, hub_errors
from ltx_core.progress import Progress

MIB = 2**20


@dataclass(frozen=True)
class PendingFile:
    """A file on the hub that is not here."""

    repository: str
    name: str
    size: int | None
    """Bytes, where the hub says."""


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
