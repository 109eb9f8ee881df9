"""What a task asks of the child that runs a stage, written beside the stage's folders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from datasets_spec import Manifest
from ltx_core.files.atomic import find_whole
from ltx_core.files.json_file import read_json, write_json
from ltx_core.files.leftovers import is_leftover, owner_mark, remove_leftovers
from tasks.address import WHOLE
from tasks.decide import Decision
from tasks.execute import Execution
from tasks.registry import stage_named
from tasks.shared import Shared
from tasks.workspace import Workspace

REQUESTS = "requests"
"""The folder of requests, beside the folders of a stage."""


class Request(BaseModel):
    """One execution of one stage, complete: the child needs nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    key: str
    why: str
    identity: Mapping[str, Any]
    config: Mapping[str, Any]
    shared: Shared
    inputs: Mapping[str, Path]
    workspace: Path
    stale: bool
    force: bool


def write_request(run: Execution) -> Path:
    """Write the request to a file of its own; two that ask for one stage at once do not meet. It has the addresses
    whole, so that this user alone may read it.

    Raises:
        StorageError: the workspace cannot be written.
    """
    decision = run.decision
    request = Request(
        stage=decision.stage.name,
        key=decision.key,
        why=decision.why,
        identity=decision.identity,
        config=run.config.model_dump(mode="json", context=dict(WHOLE)),
        shared=run.shared,
        inputs={name: manifest.path for name, manifest in run.inputs.items()},
        workspace=run.workspace.root,
        stale=decision.stale,
        force=run.force,
    )
    path = decision.folder.parent / REQUESTS / f"{decision.key}-{owner_mark()}.json"
    write_json(path, request.model_dump(mode="json", context=dict(WHOLE)), indent=2, private=True)
    return path


def clear_leftovers(run: Execution) -> None:
    """Delete what killed runs left: requests of this stage, and partial files of it, of the pool and of reports."""
    stage, place = run.decision.folder.parent, run.workspace
    for path in find_whole(stage / REQUESTS, "*.json"):
        if is_leftover(path, path.name.partition("-")[2]):
            path.unlink(missing_ok=True)
    for folder in (stage, place.pool, place.runs):
        remove_leftovers(folder)


def load_execution(path: Path) -> Execution:
    """Read a request back into what `execute` takes.

    Raises:
        DamagedError: it is gone or changed.
    """
    request = Request.model_validate(read_json(path))
    stage, workspace = stage_named(request.stage), Workspace(request.workspace)
    folder = workspace.stage(stage.name, request.key)
    return Execution(
        decision=Decision(
            stage, request.key, folder, request.identity, reusable=False, why=request.why, stale=request.stale
        ),
        config=stage.config.model_validate(request.config),
        shared=request.shared,
        inputs={name: Manifest(where, stage_named(name).makes) for name, where in request.inputs.items()},
        workspace=workspace,
        force=request.force,
    )
