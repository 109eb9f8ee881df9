"""What the library of Weights & Biases kept offline, read back from its own file."""

import json
from pathlib import Path
from typing import Any, NamedTuple


class Kept(NamedTuple):
    """One run."""

    project: str
    name: str
    config: dict[str, Any]
    history: list[dict[str, Any]]
    """A row for each call of `log`, without what the library adds."""
    summary: dict[str, Any]
    commit: str
    """Of the git checkout."""
    host: str
    kinds: set[str]
    """Of all records."""


def kept_runs(folder: Path) -> list[Kept]:
    """The runs below `folder`, the oldest first; of one that was killed the library may have kept nothing."""
    read = (_read(file) for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")))
    return [run for run in read if run is not None]


def _read(file: Path) -> Kept | None:
    from wandb.proto import wandb_internal_pb2  # seconds, which collection would pay in every process
    from wandb.sdk.internal.datastore import DataStore

    store, records = DataStore(), []
    store.open_for_scan(str(file))
    while (data := store.scan_data()) is not None:
        records.append(wandb_internal_pb2.Record())
        records[-1].ParseFromString(data)
    run = next((record.run for record in records if record.HasField("run")), None)
    if run is None:
        return None
    history = [_values(record.history.item) for record in records if record.HasField("history")]
    updates = [_values(record.summary.update) for record in records if record.HasField("summary")]
    summary = {name: value for update in updates for name, value in update.items()}
    kinds = {str(record.WhichOneof("record_type")) for record in records}
    config = _values(run.config.update)
    return Kept(run.project, run.display_name, config, history, summary, run.git.commit, run.host, kinds)


def _values(items: Any) -> dict[str, Any]:
    named = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}
    return {name: value for name, value in named.items() if not name.startswith("_")}
