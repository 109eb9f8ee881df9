"""A flow run as MLflow sees it: a parent run, a child for each stage that is built, links for those reused."""

import json
import os
import subprocess
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flows.config import RunConfig
from flows.tracked_settings import mirrored_settings, tracked_settings
from flows.wandb_mirror import WandbMirror, start_mirror
from ltx_core.errors import ConfigError, DamagedError
from ltx_core.files.atomic import find_whole
from ltx_core.files.json_file import read_json, write_json
from tasks.perform import StageCall
from tasks.register import RUN_ID_VARIABLE
from tasks.registry import stage_named
from tasks.results import StageResult
from tasks.tracking import TrackedRun, find_or_start

FLUSH_SECONDS = 2.0
VERSIONED = ("ltx2-lora", "torch", "diffusers", "transformers", "peft", "prefect", "mlflow")
LINK_FILE = "mlflow.json"
"""In a stage's folder: which MLflow run built it."""


class Tracked:
    """The parent run of one flow run. A listener too: it logs what stages measure."""

    def __init__(self, config: RunConfig, *, key: str, name: str) -> None:
        self._config = config
        self._key = key
        place = config.place()
        self.parent = find_or_start(config.tracking, place, key=key, name=config.tracking.run_name or name)
        self.parent.params(tracked_settings(config))
        self.parent.tags({f"version.{p}": version(p) for p in VERSIONED} | {"git_commit": _git_commit()})
        self._mirror = self._beside(key, name)
        self.child: TrackedRun | None = None
        self._points: list[tuple[str, float, int]] = []
        self._flushed_at = time.monotonic()
        self._monitor = _system_metrics(self.parent)

    def _beside(self, key: str, name: str) -> WandbMirror | None:
        """The mirror, begun when MLflow has the run, and ended by `end`: neither is left open where the other fails."""
        try:
            return _mirror(self._config, key, name)
        except ConfigError:
            self.parent.end("FAILED")
            raise

    def begin(self, call: StageCall) -> None:
        """A stage may be built: its child run is made when it starts."""
        self._call = call
        self.child = None
        os.environ.pop(RUN_ID_VARIABLE, None)

    def started(self, stage: str, why: str) -> None:
        """Make the child run, or go on with the one of an earlier try."""
        call, tracking = self._call, self._config.tracking
        self.child = find_or_start(
            tracking, self._config.place(), key=f"{self._key}/{stage}", name=stage, parent=self.parent.run_id
        )
        self.child.params(call.config.model_dump(mode="json"))
        self.child.tags({"ltx2.why": why})
        for name, manifest in call.inputs.items():
            self.child.dataset(name, manifest.digest, json.dumps({"manifest": str(manifest.path)}))
        os.environ[RUN_ID_VARIABLE] = self.child.run_id  # the child process of `register` logs into this run

    def advanced(self, stage: str, done: int, total: int, unit: str) -> None:
        """Progress is not kept."""

    def measured(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Buffer, and log every few seconds: one call a value would cost more than the step."""
        self._points += [(name, value, step) for name, value in values.items()]
        if time.monotonic() - self._flushed_at >= FLUSH_SECONDS:
            self._flush()

    def noted(self, stage: str, message: str) -> None:
        """Notes are in the stage's log."""

    def finish(self, call: StageCall, result: StageResult) -> None:
        """Close the stage's child run, or link to the run that built what was reused."""
        name, folder = call.stage, result.decision.folder
        if result.built and self.child is not None:
            self._flush()
            self.child.metrics((f"counts/{k}", v, 0) for k, v in _counts(result).items())
            self.child.tags({"ltx2.stage_key": result.decision.key})
            stage = stage_named(name)
            files = [file for pattern in stage.artifacts for file in find_whole(folder, pattern)]
            self.child.artifacts([file for file in files if file.is_file() and file.suffix != ".mp4"])
            self.child.artifacts([file for file in files if file.suffix == ".mp4"], "renders")
            self.child.end("FINISHED")
            write_json(folder / LINK_FILE, {"run_id": self.child.run_id})
        self.parent.tags(
            {f"ltx2.stage.{name}": f"{result.state_name} {result.decision.key}", **self._link(call, folder)}
        )
        figures = {**_counts(result), **result.summary.figures}
        self.parent.metrics((f"{name}/{k}", v, 0) for k, v in figures.items())
        if self._mirror is not None:
            self._mirror.summarize(name, {"state": result.state_name, **figures})

    def _link(self, call: StageCall, folder: Path) -> dict[str, str]:
        link = folder / LINK_FILE
        try:
            return {f"ltx2.run.{call.stage}": str(read_json(link)["run_id"])}
        except DamagedError:  # which run built it is known no more; what was built is as good as ever
            return {}

    def end(self, status: str) -> None:
        """Close what is open."""
        self._flush()
        if self.child is not None and status != "FINISHED":
            self.child.end(status)
        self._monitor.finish()
        self.parent.end(status)
        if self._mirror is not None:
            self._mirror.end(succeeded=status == "FINISHED")

    def _flush(self) -> None:
        self._flushed_at = time.monotonic()
        points, self._points = self._points, []
        if points and self.child is not None:
            self.child.metrics(points)
        if points and self._mirror is not None:
            self._mirror.log(self._call.stage, points)


def _mirror(config: RunConfig, key: str, name: str) -> WandbMirror | None:
    """The same run in W&B, if that is asked for."""
    if not config.tracking.wandb:
        return None
    named, project = config.tracking.run_name or name, config.tracking.experiment
    return start_mirror(config.workspace, project=project, name=named, key=key, settings=mirrored_settings(config))


def _counts(result: StageResult) -> dict[str, float]:
    s = result.summary
    return {
        "in": s.num_in,
        "out": s.num_out,
        "quarantined": s.num_quarantined,
        "computed": s.computed,
        "reused": s.reused,
    }


def _system_metrics(run: TrackedRun) -> Any:
    """Processor, memory, disk, network and GPU figures, logged by MLflow's own thread until `finish`."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    uri = run.client.tracking_uri
    monitor = SystemMetricsMonitor(run.run_id, sampling_interval=5, resume_logging=True, tracking_uri=uri)
    monitor.start()
    return monitor


def _git_commit() -> str:
    root = Path(__file__).parents[1]
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else "not a git checkout"
