"""What a task asks of the child that runs a stage, written beside the stage's folders."""

from dataclasses import asdict
from pathlib import Path

from datasets_spec import Manifest
from ltx_core.files.atomic import find_whole
from ltx_core.files.json_file import read_json, write_json
from ltx_core.files.leftovers import is_leftover, owner_mark, remove_leftovers
from ltx_core.progress import SILENT, Progress
from tasks.address import WHOLE
from tasks.registry import stage_named
from tasks.shared import Shared
from tasks.stage_run import Decision, StageRun
from tasks.workspace import Workspace

REQUESTS = "requests"
"""The folder of requests, beside the folders of a stage."""


def write_request(run: StageRun) -> Path:
    """Write the run to a file of its own; two that ask for one stage at once do not meet. It has the addresses whole,
    so that this user alone may read it.

    Raises:
        StorageError: the workspace cannot be written.
    """
    decided, whole = run.decided, dict(WHOLE)
    request = {
        "stage": run.stage.name,
        "config": run.config.model_dump(mode="json", context=whole),
        "shared": run.shared.model_dump(mode="json", context=whole),
        "inputs": {name: str(manifest.path) for name, manifest in run.inputs.items()},
        "workspace": str(run.workspace.root),
        "force": run.force,
        "decision": asdict(decided),
    }
    path = run.out.parent / REQUESTS / f"{decided.key}-{owner_mark()}.json"
    write_json(path, request, indent=2, private=True)
    return path


def read_request(path: Path, progress: Progress = SILENT) -> StageRun:
    """The run that a request is for.

    Raises:
        DamagedError: it is gone or changed.
    """
    request = read_json(path)
    stage = stage_named(request["stage"])
    return StageRun(
        stage=stage,
        config=stage.config.model_validate(request["config"]),
        shared=Shared.model_validate(request["shared"]),
        inputs={name: Manifest(Path(where), stage_named(name).makes) for name, where in request["inputs"].items()},
        workspace=Workspace(Path(request["workspace"])),
        force=request["force"],
        progress=progress,
        decision=Decision(**request["decision"]),
    )


def clear_leftovers(run: StageRun) -> None:
    """Delete what killed runs left: requests of this stage, and partial files of it, of the pool and of reports."""
    stage, place = run.out.parent, run.workspace
    for path in find_whole(stage / REQUESTS, "*.json"):
        if is_leftover(path, path.name.partition("-")[2]):
            path.unlink(missing_ok=True)
    for folder in (stage, place.pool, place.runs):
        remove_leftovers(folder)
