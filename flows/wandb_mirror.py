"""Weights & Biases beside MLflow: settings, metrics and counts of a run, sent on or kept for `wandb sync`; no files.

The library is an extra, imported where it is used alone.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltx_core.errors import ConfigError
from tasks.tracking.address import hide_secrets
from tasks.tracking.mlflow import flatten

if TYPE_CHECKING:
    from wandb import Run

NO_HOST = "ltx2-lora"
"""Sent in the place of the host's name."""
EXTRA = "pip install 'ltx2-lora[wandb]'"


INIT_SECONDS = 8.0
FINISH_SECONDS = 60.0
"""At the end of a run, for what W&B has not taken yet; the rest stays in the workspace."""


class WandbMirror:
    """One run of W&B, open until `end`. W&B's trouble is reported once, and is nobody else's: the run goes on
    without."""

    def __init__(self, run: "Run", say: Callable[[str], None]) -> None:
        self._run = run
        self._say = say
        self._broken = False
        self._known: set[str] = set()

    def log(self, stage: str, points: Iterable[tuple[str, float, int]]) -> None:
        """(name, value, step) points of a stage, drawn over that stage's own steps."""
        steps: dict[int, dict[str, float]] = defaultdict(dict)
        for name, value, step in points:
            steps[step][f"{stage}/{name}"] = value
        with self._whole():
            if stage not in self._known:
                self._known.add(stage)
                self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
            for step, values in sorted(steps.items()):
                self._run.log({f"{stage}/step": step, **values})

    def summarize(self, stage: str, values: Mapping[str, float | str]) -> None:
        """Values of a finished stage."""
        with self._whole():
            self._run.summary.update({f"{stage}/{name}": value for name, value in values.items()})

    def end(self, succeeded: bool) -> None:
        """Send what waits, and close the run."""
        with self._whole():
            self._run.finish(exit_code=0 if succeeded else 1)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Once something failed, nothing more is asked of W&B."""
        import wandb

        try:
            yield
        except (wandb.Error, OSError) as error:
            if not self._broken:
                self._say(
                    f"W&B stopped taking this run ({hide_secrets(str(error))}). The run goes on; what W&B misses is in "
                    f"{self._run.dir}: `wandb sync` sends it"
                )
            self._broken = True


def require_wandb() -> None:
    """See that the library is there, before anything runs.

    Raises:
        ConfigError: it is not.
    """
    if find_spec("wandb") is None:
        raise ConfigError(f"tracking.wandb is on and the library is not installed: {EXTRA}, or switch it off")


def start_mirror(
    folder: Path, *, project: str, name: str, key: str, settings: Mapping[str, Any], say: Callable[[str], None]
) -> WandbMirror:
    """A run whose id is made of `key`, so that a flow run that is tried again goes on in it.

    Of this machine are sent the load of its processor and GPU, and the names of installed packages: no code, no git, no
    output, no command line, no name of the host.

    Args:
        folder: where W&B keeps its files, in `wandb/` below.
        project: of W&B.
        name: of the run, as people see it.
        key: unique to the flow run.
        settings: the configuration.
        say: tells people what goes wrong later.

    Raises:
        ConfigError: the library is not installed, no account is known, or W&B cannot be reached.
    """
    require_wandb()
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    quiet = wandb.Settings(
        console="off",
        silent=True,
        host=NO_HOST,
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
        x_disable_meta=True,
        init_timeout=INIT_SECONDS,
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,
    )
    folder.mkdir(parents=True, exist_ok=True)
    try:
        wandb.setup(wandb.Settings(silent=True))  # of the process: in a terminal it would ask for a key, and wait
        run = wandb.init(
            project=project,
            name=name,
            id=key,
            resume="allow",
            dir=folder,
            config=flatten(settings),
            settings=quiet,
        )
    except wandb.Error as error:
        raise ConfigError(
            f"W&B did not begin a run ({hide_secrets(str(error))}). Log in with `wandb login` or set WANDB_API_KEY; "
            f"set WANDB_MODE=offline to send it later with `wandb sync`; or switch tracking.wandb off"
        ) from error
    return WandbMirror(run, say)
