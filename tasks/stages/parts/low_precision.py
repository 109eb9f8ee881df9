"""The storage and the products of the layers of a base in 8 bits: compared once for a checkpoint, kept with each run.

What was found lies in the store, for all runs of a workspace with that transformer, and in the folder of a run that
began with it: one that is resumed goes on with the very choice, whatever has become of the store.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from datasets_spec.errors import DamagedError
from ltx_core.engine.precision_choice import VERSION, Comparison
from ltx_core.io.atomic import find_whole
from ltx_core.io.digest import text_digest
from ltx_core.io.json_file import read_json, write_json
from ltx_core.progress import SILENT, Progress
from ltx_core.training.config import TrainSettings
from tasks.runtime.shared import Shared
from tasks.runtime.stage import TRANSFORMER, StageRun
from tasks.runtime.weights import component_identities
from tasks.runtime.workspace import QUANTISED_FILE, Workspace

if TYPE_CHECKING:
    import torch

    from ltx_core.distributed.ranks import Ranks
    from ltx_core.engine.options import EngineOptions
    from ltx_core.engine.quantised_cache import QuantisedFolder


def quantised_folder(
    run: StageRun[Any], options: "EngineOptions", dtype: "torch.dtype", *, writes: bool = True
) -> "QuantisedFolder | None":
    """The folder of these weights, noted in the stage's own so that it is kept with it; None for full precision."""
    from ltx_core.engine.quantised_cache import QuantisedFolder, cache_key

    if options.precision == "native":
        return None
    identity = component_identities(run.shared.model, run.memo, "transformer")["transformer"]
    key = cache_key(identity, options.precision, dtype, TRANSFORMER.version, options.native_layers)
    write_json(run.out / QUANTISED_FILE, {"key": key})
    return QuantisedFolder(run.workspace.quantised / key, writes, run.progress, run.memo.check)


FILE = "low_precision.json"


def compared(run: StageRun[TrainSettings], ranks: "Ranks", make: Callable[[], Comparison]) -> Comparison | None:
    """The choice that the run began with, else that of the store for this transformer, else the one that `make` finds.
    The first rank makes it. None where nothing is left to a comparison."""
    settings, progress = run.config, run.progress
    if not _is_compared(settings):
        return None
    if ranks.is_first:
        found = _read(run.out / FILE, progress) or known(settings, run.shared, run.workspace, progress)
        if found is None:
            progress.note(
                f"comparing {settings.base_precision} with full precision on one clip, block by block; once for this "
                f"checkpoint"
            )
            found = make()
            _write(_store_file(settings, run.shared, run.workspace), found)
        _write(run.out / FILE, found)
        for line in found.lines():
            progress.note(f"8 bits: {line}")
    ranks.wait()
    return _read(run.out / FILE, progress)


def known(
    settings: TrainSettings, shared: Shared, workspace: Workspace, progress: Progress = SILENT
) -> Comparison | None:
    """The store's choice, if the settings leave it to a comparison. Weights are read for their digest only where the
    pool knows of any: a plan of a new workspace reads headers alone."""
    if not _is_compared(settings) or not find_whole(workspace.compared, "*.json"):
        return None
    return _read(_store_file(settings, shared, workspace), progress)


def plan_lines(settings: TrainSettings, found: Comparison | None) -> Sequence[str]:
    """For the plan."""
    if found is not None:
        return tuple(f"8 bits: {line}" for line in found.lines())
    if not _is_compared(settings):
        return ()
    return (
        f"8 bits: {settings.base_precision} is compared with full precision when training starts, which decides what "
        f"is multiplied in 8 bits and what stays in full precision; planned is that 8 bits hold weights alone",
    )


def lines_in(folder: Path) -> Sequence[str]:
    """For the report of a run: what lies in its folder."""
    found = _read(folder / FILE, SILENT)
    return () if found is None else found.lines()


def forget(folder: Path) -> None:
    """The run begins anew."""
    (folder / FILE).unlink(missing_ok=True)


def _store_file(settings: TrainSettings, shared: Shared, workspace: Workspace) -> Path:
    """Where it is kept for a transformer, a precision and the streams that run."""
    identity = component_identities(shared.model, workspace.digest_memo(), "transformer")["transformer"]
    what = (settings.base_precision, settings.dtype, settings.modalities, str(settings.low_precision_backward))
    return workspace.compared / f"{text_digest(identity, *what, str(VERSION))}.json"


def _is_compared(settings: TrainSettings) -> bool:
    return settings.base_precision != "native" and settings.low_precision == "auto"


def _write(path: Path, found: Comparison) -> None:
    write_json(path, found.model_dump(mode="json"), indent=1)


def _read(path: Path, progress: Progress) -> Comparison | None:
    """Return the contents of a file, None if it is not there; a damaged one is named and ignored."""
    if not path.exists():
        return None
    try:
        return Comparison.model_validate(read_json(path))
    except (DamagedError, ValidationError) as error:
        progress.note(f"{path} is damaged or of another version, so 8 bits are compared again: {error}")
        return None
