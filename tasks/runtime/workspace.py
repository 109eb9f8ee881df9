"""Where things lie in a workspace. The only place that knows."""

from dataclasses import dataclass
from pathlib import Path

from ltx_core.errors import ConfigError
from ltx_core.io.digest import DigestMemo
from ltx_core.io.json_file import read_json, write_json
from ltx_core.progress import SILENT, Progress

OWN = ("cache", "captions", "mlartifacts", "pool", "runs", "stages")
"""Folders of a workspace. Nothing in them is anybody's footage."""
STORE_FILE = "pool.json"
"""In a stage's folder: the store's folder that its items lie in, so that nothing there is deleted before it is done."""
QUANTISED_FILE = "quantised.json"
"""In a stage's folder: the key of the 8-bit weights that it reads."""


def is_own_folder(folder: Path) -> bool:
    """Return whether a folder is one of those that a workspace, this one or any other, keeps its results in."""
    return folder.name in OWN and (folder.parent / "stages" / "probe").is_dir()


def workspace_around(path: Path) -> Path | None:
    """The workspace in whose own folders a path lies; None if it lies in none."""
    return next((folder.parent for folder in (path, *path.parents) if is_own_folder(folder)), None)


@dataclass(frozen=True)
class Workspace:
    """A folder that may be moved whole: everything stored inside refers to it by relative paths."""

    root: Path

    @property
    def store(self) -> Path:
        """Results of items, by content key, shared by all runs."""
        return self.root / "pool"

    @property
    def pool(self) -> Path:
        """The earlier name of the store, for the modules that are not renamed yet."""
        return self.store

    @property
    def quantised(self) -> Path:
        """8-bit weights of transformers, a folder for each transformer and precision."""
        return self.store / "quantised"

    @property
    def compared(self) -> Path:
        """Comparisons of 8 bits with full precision, a small file for each transformer and precision; never garbage."""
        return self.store / "low_precision"

    @property
    def captions(self) -> Path:
        """Captions that a model wrote, a text file for each clip, for people to edit; never garbage."""
        return self.root / "captions"

    @property
    def caption_store(self) -> Path:
        """A model's answers about clips, and the texts that were written of them; never garbage."""
        return self.root / "pool" / "captions"

    @property
    def compiled(self) -> Path:
        """Compiled code of the models, so that a later process need not compile."""
        return self.root / "cache" / "compile"

    @property
    def runs(self) -> Path:
        """The folder that records what each flow run used."""
        return self.root / "runs"

    def check(self) -> None:
        """See that a workspace can be here, before anything is computed.

        Raises:
            ConfigError: a file is where a folder should be, or a link.
        """
        for path in (self.root, *self.root.parents):
            if path.exists() and not path.is_dir():
                raise ConfigError(f"workspace {self.root}: {path} is a file; set `workspace` to a folder")
        for name in OWN:
            path = self.root / name
            if path.is_symlink():
                raise ConfigError(
                    f"{path} is a link to {path.readlink()}. A workspace is moved and collected as one tree: remove "
                    "the link and put the folder itself there, or set `workspace` to a folder on the other disk."
                )
            if path.exists() and not path.is_dir():
                raise ConfigError(f"{path} is a file where the workspace has a folder; remove it")

    def stage(self, name: str, key: str) -> Path:
        """Output folder of one stage at one key."""
        return self.root / "stages" / name / key

    def digest_memo(self, progress: Progress = SILENT) -> DigestMemo:
        """Digests of footage and weights, remembered by path, size and modification time. `progress` gets the
        pace of reading weights."""
        return DigestMemo(self.store / "media.parquet", progress)

    def relative(self, path: Path) -> str:
        """`path` inside the workspace, as rows store it."""
        return path.resolve().relative_to(self.root.resolve()).as_posix()

    def set_latest(self, name: str, key: str) -> None:
        """Remember which key of a stage was last made or found good."""
        write_json(self._latest_file(name), {"key": key})

    def latest(self, name: str) -> str | None:
        """Key of a stage that was last made or found good; None if it never was.

        Raises:
            DamagedError: what was remembered cannot be read.
        """
        path = self._latest_file(name)
        return str(read_json(path)["key"]) if path.exists() else None

    def _latest_file(self, name: str) -> Path:
        return self.root / "stages" / name / "latest.json"
