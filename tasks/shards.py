"""When shards close: options of every stage that writes some. They never change a result."""

from pathlib import Path

from pydantic import Field

from ltx_core.files.json_file import write_json
from ltx_core.pool.writer import ShardLimits
from tasks.shared import ConfigModel
from tasks.stage_run import StageRun
from tasks.workspace import POOL_FILE


class ShardConfig(ConfigModel):
    """A crash loses at most the open shard."""

    shard_max_mib: int = Field(default=256, ge=1, le=4096, description="A shard closes at this size.")
    shard_max_seconds: float = Field(default=60.0, gt=0, description="A shard closes after this time.")
    shard_max_samples: int = Field(default=4096, ge=1, description="A shard closes at this count.")

    def limits(self) -> ShardLimits:
        """As the writer takes them."""
        return ShardLimits(self.shard_max_mib * 2**20, self.shard_max_seconds, self.shard_max_samples)


def note_folder(run: StageRun, folder: Path) -> None:
    """Say in the stage's folder which one of the pool it uses; before its lock is taken, see `tasks.collect`."""
    write_json(run.out / POOL_FILE, {"folder": run.workspace.relative(folder)})


SHARD_OPTIONS = frozenset(ShardConfig.model_fields)
