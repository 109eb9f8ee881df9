"""Where MLflow's UI shows a run."""

import os

from flows.config import RunConfig
from tasks.tracking import TrackedRun

UI_VARIABLE = "LTX2_MLFLOW_UI"
"""Address of the MLflow UI that `ltx2-lora up` started; its worker passes it on to flow runs."""
DEFAULT_UI = "http://127.0.0.1:5000"


def run_address(config: RunConfig, run: TrackedRun) -> str:
    """Link to one run: on the tracking server if one is configured, else on the UI that `ltx2-lora up` starts."""
    uri = config.tracking.uri
    server = str(uri) if uri is not None and uri.is_http else os.environ.get(UI_VARIABLE, DEFAULT_UI)
    return f"{server.rstrip('/')}/#/experiments/{run.experiment}/runs/{run.run_id}"
