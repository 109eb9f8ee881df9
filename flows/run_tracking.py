"""A flow run as MLflow sees it: a parent run, a child for each stage that is built, links for those reused."""

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from datasets_spec.manifest import rows_digest
from datasets_spec.options import ConfigModel
from flows.config import RunConfig
from flows.report.record import flat_settings, record_before, run_label
from flows.report.summary import FinishedRun
from flows.server.processes import beginning, end_dead_runs
from flows.wandb_mirror import WandbMirror, start_mirror
from ltx_core.errors import ConfigError, DamagedError
from ltx_core.io.atomic import find_whole
from ltx_core.io.json_file import read_json
from tasks.runtime.launch import StageResult
from tasks.runtime.messages import Listener
from tasks.runtime.stage import StageRun
from tasks.stages.register import RUN_ID_VARIABLE, Register
from tasks.stages.train_lora import TrainLora
from tasks.tracking.experiment import NOTE, describe
from tasks.tracking.log import LoggedRun, Say, TrackingLog, kept_folder, tell_kept
from tasks.tracking.mlflow import TrackedRun, answering, tracking_errors

if TYPE_CHECKING:
    from tasks.tracking.system_metrics import SystemMetrics


def tracked_settings(config: RunConfig) -> dict[str, Any]:
    """For MLflow, which is the user's own: everything, addresses without their secrets."""
    return config.model_dump(mode="json", exclude={"workspace"})


def mirrored_settings(config: RunConfig) -> dict[str, Any]:
    """For a service of others: no tracking server, and the last name of each path alone."""
    named: RunConfig = _last_names(config)
    return named.model_dump(mode="json", exclude={"workspace": True, "tracking": {"uri"}})


def _last_names(value: Any) -> Any:
    """A copy in which paths, and locations that are paths, are their last name; repositories of the hub stay."""
    if isinstance(value, Path):
        return Path(value.name)
    if isinstance(value, tuple):
        return tuple(_last_names(item) for item in value)
    if not isinstance(value, BaseModel):
        return value
    fields = {name: _last_names(getattr(value, name)) for name in type(value).model_fields}
    for name in value.LOCATIONS if isinstance(value, ConfigModel) else ():
        if fields[name] is not None and Path(fields[name]).is_absolute():
            fields[name] = Path(fields[name]).name
    return value.model_copy(update=fields)


FLUSH_SECONDS = 2.0
BEGUN_SECONDS = 30.0
"""Seconds that `register` waits for its run's name, unless MLflow is known to be away."""
VERSIONED = ("ltx2-lora", "torch", "diffusers", "transformers", "peft", "prefect", "mlflow")
COMPARED = ("loss", "eval/", "learning_rate")
"""Beginnings of the names of metrics that the run has too, not only its training."""
NOTE_LIMIT = 5000
"""MLflow refuses longer tags from 8,000 on."""
LINK_FILE = "mlflow.json"
"""In a stage's folder: which MLflow run built it."""


class Tracked(Listener):
    """The parent run of one flow run. A listener too: it logs what stages measure.

    MLflow must answer at the start. From then on its trouble, and W&B's, is reported and ends nothing.
    """

    def __init__(self, config: RunConfig, *, key: str, name: str, say: Say) -> None:
        """`key`: unique to the flow run, by which a retry finds its run; `say`: tells people of trouble.

        Raises:
            TransientError: MLflow does not answer.
            StorageError: the disk of its database is full.
            ConfigError: W&B is asked for and does not begin.
        """
        self._config, self._key, self._say = config, key, say
        self._settings, self._before = flat_settings(tracked_settings(config)), record_before(config.place(), name)
        self._log = _open_log(config, key, config.tracking.run_name or run_label(self._settings, self._before), say)
        self.parent = LoggedRun(self._log, key)
        self.mlflow_run = TrackedRun(self._log.client, self._log.experiment, str(self.parent.run_id()))
        self.parent.params(tracked_settings(config))
        versions = {f"version.{p}": version(p) for p in VERSIONED}
        self.parent.tags({**versions, "git_commit": _git_commit(), "ltx2.folder": f"runs/{name}"})
        self._log.start()
        self._mirror = self._beside(key, name)
        self.child: LoggedRun | None = None
        self._points: list[tuple[str, float, int]] = []
        self._figures: list[tuple[str, float, int]] = []
        self._flushed_at = time.monotonic()
        self._monitor = _system_metrics(self.parent, self.mlflow_run.run_id)

    def _beside(self, key: str, name: str) -> WandbMirror | None:
        """The mirror, begun when MLflow has the run, and ended by `end`: neither is left open where the other fails."""
        try:
            return _mirror(self._config, key, name, self._say)
        except ConfigError:
            self.parent.end("FAILED")
            self._log.close()
            raise

    def begin(self, run: StageRun[Any]) -> None:
        """A stage may be built: its child run is made when it starts."""
        self._run = run
        self.child = None
        os.environ.pop(RUN_ID_VARIABLE, None)

    def started(self, stage: str, why: str) -> None:
        """Make the child run, or go on with the one of an earlier try."""
        run = self._run
        self._log.add(beginning(f"{self._key}/{stage}", stage, parent=self._key))
        self.child = LoggedRun(self._log, f"{self._key}/{stage}")
        self.child.params(run.config.model_dump(mode="json"))
        self.child.tags({"ltx2.why": why})
        for name, manifest in run.inputs.items():
            self.child.dataset(name, manifest.digest, json.dumps({"manifest": str(manifest.path)}))
        if stage == Register.name and (run_id := self.child.run_id(BEGUN_SECONDS)):
            os.environ[RUN_ID_VARIABLE] = run_id  # its child process logs into this run

    def measured(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Buffer, and log every few seconds: one call a value would cost more than the step."""
        self._points += [(name, value, step) for name, value in values.items()]
        if time.monotonic() - self._flushed_at >= FLUSH_SECONDS:
            self._flush()

    def shown(self, stage: str, page: Path) -> None:
        """Put the page into the stage's run, over an earlier one: it is seen while the stage goes on."""
        if self.child is not None:
            self.child.artifacts([page])

    def finish(self, result: StageResult) -> None:
        """Close the stage's child run, or link to the run that built what was reused."""
        stage, folder, key = result.run.stage, result.run.out, result.run.decided.key
        name = stage.name
        if result.built and self.child is not None:
            self._flush()
            self.child.metrics((f"counts/{k}", v, 0) for k, v in _counts(result).items())
            self.child.tags({"ltx2.stage_key": key})
            files = [file for pattern in stage.artifacts for file in find_whole(folder, pattern) if file.is_file()]
            for below, group in groupby(files, key=lambda file: file.parent.relative_to(folder)):
                self.child.artifacts(list(group), None if below == Path() else below.as_posix())
            self.child.end("FINISHED")
            self.child.link(folder / LINK_FILE)
            self.parent.runs({f"ltx2.run.{name}": self.child.key})
        else:
            self.parent.tags(_link(name, folder))
        self.parent.tags({f"ltx2.stage.{name}": f"{result.state_name} {key}"})
        figures = {**_counts(result), **result.summary.figures}
        self._figures += [(f"{name}/{k}", v, 0) for k, v in figures.items()]
        if self._mirror is not None:
            self._mirror.summarize(name, {"state": result.state_name, **figures})

    def conclude(self, summary: FinishedRun, report: Path) -> None:
        """Log the result on the page of the run: figures, footage, a description, the report, and its name."""
        if self._config.tracking.run_name is None:
            self.parent.name(run_label(self._settings, self._before, summary.num_clips))
        self.parent.metrics((name, value, 0) for name, value in summary.figures.items())
        for name, digest, source in footage_of(self._config, summary):
            self.parent.dataset(name, digest, source)
        self.parent.tags({NOTE: summary.markdown()[:NOTE_LIMIT]})
        self.parent.artifacts([report])

    def end(self, status: str) -> None:
        """Close what is open, and say what MLflow has not taken, which a later run tells it."""
        self._flush()
        self.parent.metrics(self._figures)  # last: MLflow's pages begin with what came first, which are losses
        if self.child is not None and status != "FINISHED":
            self.child.end(status)
        self._monitor.finish()
        self.parent.end(status)
        if left := self._log.close():
            self._say(
                f"MLflow has not taken {left} entries of this run. They are kept in "
                f"{kept_folder(self._config.place())}; the next run sends them once MLflow answers"
            )
        if self._mirror is not None:
            self._mirror.end(succeeded=status == "FINISHED")

    def _flush(self) -> None:
        self._flushed_at = time.monotonic()
        points, self._points = self._points, []
        if points and self.child is not None:
            self.child.metrics(points)
            if self._run.stage.name == TrainLora.name:  # so that runs compare by their losses without being opened
                self.parent.metrics(point for point in points if point[0].startswith(COMPARED))
        if points and self._mirror is not None:
            self._mirror.log(self._run.stage.name, points)


def _open_log(config: RunConfig, key: str, name: str, say: Say) -> TrackingLog:
    """MLflow with the run in it; there too is what earlier runs could not tell, and no dead run is running."""
    place = config.place()
    client, experiment = answering(config.tracking, place)
    log = TrackingLog(client, experiment, config.tracking, place)
    log.say = say
    log.begin(beginning(key, name))
    tell_kept(log, config.tracking, place)
    with tracking_errors(config.tracking, place):
        end_dead_runs(client, experiment)
        describe(client, experiment)
    return log


def _mirror(config: RunConfig, key: str, name: str, say: Say) -> WandbMirror | None:
    """The same run in W&B, if that is asked for."""
    if not config.tracking.wandb:
        return None
    named, project = config.tracking.run_name or name, config.tracking.experiment
    settings = mirrored_settings(config)
    return start_mirror(config.workspace, project=project, name=named, key=key, settings=settings, say=say)


def footage_of(config: RunConfig, summary: FinishedRun) -> list[tuple[str, str, str]]:
    """Name, digest and source of each dataset; named after its folder, and its id where two folders have one name."""
    clips = summary.clips or []
    names = Counter(dataset.instance_data_dir.name for dataset in config.datasets)
    found = []
    for dataset in config.datasets:
        own = [clip for clip in clips if clip.dataset == dataset.id]
        folder = dataset.instance_data_dir
        name = folder.name if names[folder.name] == 1 else f"{folder.name} ({dataset.id})"
        if own:
            found.append((name or dataset.id, rows_digest(own), json.dumps({"folder": str(folder), "clips": len(own)})))
    return found


def _link(name: str, folder: Path) -> dict[str, str]:
    """A tag that names the run that built what is reused, where that is known."""
    link = folder / LINK_FILE
    try:
        return {f"ltx2.run.{name}": str(read_json(link)["run_id"])}
    except (FileNotFoundError, DamagedError):  # MLflow was away, or the file is damaged; what was built is as good
        return {}


def _counts(result: StageResult) -> dict[str, float]:
    s = result.summary
    return {
        "in": s.num_in,
        "out": s.num_out,
        "quarantined": s.num_quarantined,
        "computed": s.computed,
        "reused": s.reused,
    }


def _system_metrics(run: LoggedRun, run_id: str) -> "SystemMetrics":
    """Processor, memory, disk, network and GPU figures, logged by a thread until `finish`."""
    from tasks.tracking.system_metrics import SystemMetrics  # imports MLflow

    monitor = SystemMetrics(run, run_id)
    monitor.start()
    return monitor


def _git_commit() -> str:
    root = Path(__file__).parents[1]
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else "not a git checkout"
