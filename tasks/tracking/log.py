"""`tracking/<run>.jsonl` in the workspace: what MLflow has not taken yet, an entry a line, each with its checksum.

What cannot be logged is kept in the workspace (`tasks.tracking.log`), and logged when MLflow takes it again: in this
run, else at the start of a later one. Being logged twice changes nothing: runs are found by their key, and MLflow keeps
equal values once.
"""

import contextlib
import fcntl
import json
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from zlib import crc32

from ltx_core.errors import LtxError
from ltx_core.io.atomic import find_whole
from ltx_core.io.json_file import write_json
from tasks.runtime.shared import TrackingConfig
from tasks.runtime.workspace import Workspace
from tasks.tracking.mlflow import TrackedRun, find_or_start, flatten, now_ms, short, tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Entry:
    """One thing to be logged of one run."""

    run: str
    """The run's key."""
    kind: str
    value: Any
    at_ms: int = field(default_factory=now_ms)


class Kept:
    """A file of entries, held by this process, so that no other tells them too."""

    def __init__(self, file: IO[str], path: Path) -> None:
        self.file, self.path = file, path

    @classmethod
    def new(cls, path: Path, where: str) -> "Kept":
        """An empty one; its first line says for which MLflow it is.

        Raises:
            OSError: it cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a", encoding="utf-8")
        os.fchmod(file.fileno(), 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        made = cls(file, path)
        made._write([where])
        return made

    def write(self, entries: Iterable[Entry]) -> None:
        """Append entries.

        Raises:
            OSError: they cannot be written.
        """
        self._write(asdict(entry) for entry in entries)

    def close(self, *, delete: bool) -> None:
        """Let go of it."""
        if delete:
            self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # of what waits to be written, which is reported when it is added
            self.file.close()

    def _write(self, values: Iterable[Any]) -> None:
        for value in values:
            text = json.dumps(value)
            self.file.write(f"{crc32(text.encode()):08x} {text}\n")
        self.file.flush()


def kept_folder(workspace: Workspace) -> Path:
    """Where the files lie."""
    return workspace.root / "tracking"


def destination(config: TrackingConfig) -> str:
    """Return which MLflow a file is for, without secrets."""
    return json.dumps([None if config.uri is None else str(config.uri), config.experiment])


@contextmanager
def kept_entries(path: Path, where: str) -> Iterator[list[Entry]]:
    """The content of the file that is kept for `where`, which is held meanwhile; nothing if another process holds it.

    A line that a kill cut short, or a failing disk changed, is left out.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield []
            return
        values = [json.loads(line[9:]) for line in file if _is_whole(line)]
        yield [Entry(**value) for value in values[1:]] if values[:1] == [where] else []


def _is_whole(line: str) -> bool:
    return line.endswith("\n") and line[:9] == f"{crc32(line[9:-1].encode()):08x} "


RETRY_SECONDS = 5.0
"""Seconds between attempts to reach MLflow while it is away."""
REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST")
"""MLflow's codes for what it will not take later either."""
Say = Callable[[str], None]


class TrackingLog:
    """The entries that wait, and the thread that tells them."""

    def __init__(self, client: "MlflowClient", experiment: str, config: TrackingConfig, workspace: Workspace) -> None:
        self.client, self.experiment = client, experiment
        self._config, self._workspace = config, workspace
        self._waiting: deque[Entry] = deque()
        self._begun: list[Entry] = []
        self._ids: dict[str, str] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._away = False
        self._kept: Kept | None = None
        self.say: Say = lambda _message: None
        self._thread = threading.Thread(target=self._tell_all, name="tracking", daemon=True)

    def start(self) -> None:
        """Begin to tell."""
        self._thread.start()

    def begin(self, entry: Entry) -> None:
        """Tell the first run's first entry now, before the thread starts.

        Raises:
            TransientError, StorageError: MLflow did not take it.
        """
        self._begun.append(entry)
        self.tell(entry)

    def add(self, entry: Entry) -> None:
        """Tell it when those before it are logged."""
        with self._changed:
            self._waiting.append(entry)
            if entry.kind == "begin":
                self._begun.append(entry)
            if self._kept is not None:
                self._keep([entry])
            self._changed.notify_all()

    def run_id(self, key: str, patience: float = 0.0) -> str | None:
        """MLflow's name of a run, once it is logged; None if MLflow is away, or slower than `patience` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: key in self._ids or self._away, patience)
            return self._ids.get(key)

    def close(self) -> int:
        """Tell what waits, as long as MLflow takes it; how many entries it did not take, which are kept."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        left = len(self._waiting)
        if left and self._kept is None:
            self._keep(self._waiting)
        if self._kept is not None:
            self._kept.close(delete=not left)
        return left

    def tell(self, entry: Entry) -> None:
        """Tell MLflow one thing now.

        Raises:
            TransientError, StorageError: it did not take it.
        """
        with tracking_errors(self._config, self._workspace):
            self._tell(entry)

    def _tell_all(self) -> None:
        while (entry := self._next()) is not None:
            try:
                self.tell(entry)
            except LtxError as error:
                if _is_refused(error):
                    self._refuse(entry, error)
                elif self._lost(error):
                    return
            else:
                self._logged(entry)

    def _next(self) -> Entry | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            return self._waiting[0] if self._waiting else None

    def _logged(self, entry: Entry) -> None:
        with self._changed:
            self._waiting.popleft()
            back, self._away = self._away, False
            if back:
                self.say("MLflow is back; what it missed is being sent")
            if not self._waiting and self._kept is not None:
                self._kept.close(delete=True)
                self._kept = None
            self._changed.notify_all()

    def _refuse(self, entry: Entry, error: LtxError) -> None:
        self.say(f"MLflow refused {entry.kind} of a run, and goes without: {error}")
        self._logged(entry)

    def _lost(self, error: LtxError) -> bool:
        """Keep on disk what waits, and wait a little; whether to give up, since all else has ended."""
        with self._changed:
            first, self._away = not self._away, True
            if first:
                self.say(f"{error}. The run goes on; what MLflow misses is kept in {self._folder}")
            if self._kept is None:
                self._keep(self._waiting)
            self._changed.notify_all()
            if self._closing:
                return True
            self._changed.wait_for(lambda: self._closing, RETRY_SECONDS)
            return False

    @property
    def _folder(self) -> Path:
        return kept_folder(self._workspace)

    def _keep(self, entries: Iterable[Entry]) -> None:
        """Write entries to the file; in memory they are in any case."""
        try:
            if self._kept is None:
                name = self._begun[0].run
                self._kept = Kept.new(self._folder / f"{name}.jsonl", destination(self._config))
                self._kept.write(self._begun)
            self._kept.write(entries)
        except OSError as error:
            self.say(f"what MLflow misses cannot be kept in {self._folder} either ({short(error)}); free some space")

    def _tell(self, entry: Entry) -> None:
        if entry.kind == "begin":
            parent = entry.value["parent"]
            run = find_or_start(
                self.client,
                self.experiment,
                key=entry.run,
                name=entry.value["name"],
                parent=None if parent is None else self._ids[parent],
                tags=entry.value["tags"],
                at_ms=entry.at_ms,
            )
            with self._changed:
                self._ids[entry.run] = run.run_id
                self._changed.notify_all()
            return
        _tell_run(TrackedRun(self.client, self.experiment, self._ids[entry.run]), entry, self._ids)


def _tell_run(run: TrackedRun, entry: Entry, ids: Mapping[str, str]) -> None:
    value = entry.value
    match entry.kind:
        case "params" | "tags" | "name":
            getattr(run, entry.kind)(value)
        case "metrics":
            run.metrics([tuple(point) for point in value], entry.at_ms)
        case "runs":
            run.tags({name: ids[key] for name, key in value.items()})
        case "dataset":
            run.dataset(value["name"], value["digest"], value["source"])
        case "artifacts":
            run.artifacts([path for path in map(Path, value["files"]) if path.is_file()], value["folder"])
        case "link":
            if Path(value).parent.is_dir():
                write_json(Path(value), {"run_id": run.run_id})
        case "end":
            run.end(value, entry.at_ms)
        case other:
            raise ValueError(f"unknown kind of entry {other!r}")


@dataclass(frozen=True)
class LoggedRun:
    """One MLflow run, logged through the log."""

    log: TrackingLog
    key: str

    def params(self, values: Mapping[str, Any]) -> None:
        """Its parameters."""
        self._add("params", {name: str(value) for name, value in flatten(values).items()})

    def metrics(self, points: Iterable[tuple[str, float, int]]) -> None:
        """(name, value, step) points of now."""
        self._add("metrics", [[name, float(value), step] for name, value, step in points])

    def tags(self, values: Mapping[str, str]) -> None:
        """Its tags."""
        self._add("tags", dict(values))

    def runs(self, tags: Mapping[str, str]) -> None:
        """Tags that name other runs of this log, given by their keys."""
        self._add("runs", dict(tags))

    def artifacts(self, files: Iterable[Path], folder: str | None = None) -> None:
        """Files, which are copied into the run when it is logged."""
        self._add("artifacts", {"files": [str(file) for file in files], "folder": folder})

    def name(self, name: str) -> None:
        """Another name, now that more is known of it."""
        self._add("name", name)

    def dataset(self, name: str, digest: str, source: str) -> None:
        """The resources that it used."""
        self._add("dataset", {"name": name, "digest": digest, "source": source})

    def link(self, file: Path) -> None:
        """A file that names the run, as soon as it has a name."""
        self._add("link", str(file))

    def end(self, status: str) -> None:
        """FINISHED, FAILED or KILLED."""
        self._add("end", status)

    def run_id(self, patience: float = 0.0) -> str | None:
        """MLflow's name of it, if that is known within `patience` seconds."""
        return self.log.run_id(self.key, patience)

    def _add(self, kind: str, value: Any) -> None:
        self.log.add(Entry(self.key, kind, value))


def tell_kept(log: TrackingLog, config: TrackingConfig, workspace: Workspace) -> None:
    """Tell what earlier runs could not, those that no living process holds; what is not taken now stays."""
    for path in find_whole(kept_folder(workspace), "*.jsonl"):
        with kept_entries(path, destination(config)) as entries:
            if not entries:
                continue
            log.say(f"sending MLflow what it missed of an earlier run ({len(entries)} entries)")
            try:
                for entry in entries:
                    _tell_or_skip(log, entry)
            except LtxError as error:
                log.say(f"{error}. It stays in {path}")
            else:
                path.unlink()


def _tell_or_skip(log: TrackingLog, entry: Entry) -> None:
    if entry.kind != "begin" and log.run_id(entry.run) is None:  # the line that began the run was damaged
        return
    try:
        log.tell(entry)
    except LtxError as error:
        if not _is_refused(error):
            raise
        log.say(f"MLflow refused {entry.kind} of an earlier run: {error}")


def _is_refused(error: LtxError) -> bool:
    return getattr(error.__context__, "error_code", None) in REFUSED
