"""Where a stage keeps the base model's blocks in 8 bits: once for all stages and runs of a workspace."""

from typing import TYPE_CHECKING

from ltx_core.files.json_file import write_json
from tasks.stage_run import StageRun
from tasks.subjects import TRANSFORMER
from tasks.weights import component_identities
from tasks.workspace import QUANTISED_FILE

if TYPE_CHECKING:
    import torch

    from ltx_core.engine.options import EngineOptions
    from ltx_core.engine.quantised_cache import QuantisedFolder


def quantised_folder(
    run: StageRun, options: "EngineOptions", dtype: "torch.dtype", *, writes: bool = True
) -> "QuantisedFolder | None":
    """The folder of these weights, noted in the stage's own so that it is kept with it; None for full precision."""
    from ltx_core.engine.quantised_cache import QuantisedFolder, cache_key

    if options.precision == "native":
        return None
    identity = component_identities(run.shared.model, run.memo, "transformer")["transformer"]
    key = cache_key(identity, options.precision, dtype, TRANSFORMER.version, options.native_layers)
    write_json(run.out / QUANTISED_FILE, {"key": key})
    return QuantisedFolder(run.workspace.quantised / key, writes, run.progress, run.memo.check)
