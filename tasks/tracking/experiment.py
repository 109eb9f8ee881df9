"""The look of the experiment in MLflow's pages: its kind, its description, and a view with the loss charts.

Found in the sources and pages of MLflow 3.17.2: the kind "Machine learning" (`mlflow.experimentKind`) makes the list
of experiments lead to the runs. No tag makes a bare address do so, nor makes anything open on the charts: the address,
or what the browser keeps, says which of MLflow's two sets of pages is shown (`workflowType`), and whether a table or
charts (`compareRunsMode`). So charts and columns are kept as a shared view (`mlflow.sharedViewState.*`), and the
description has its whole address.
"""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

VIEW = "ltx2-lora"
KIND = "mlflow.experimentKind"
NOTE = "mlflow.note.content"
SHARED_VIEW = f"mlflow.sharedViewState.{VIEW}"
CHARTS = ("eval/loss", "loss", "loss/video", "loss/audio")
"""Metrics over steps that the view draws, in this order."""
COLUMNS = (
    ("metrics", "result/eval_loss"),
    ("metrics", "result/base_eval_loss"),
    ("metrics", "scores/clip_score"),
    ("metrics", "cost/gpu_hours"),
    ("metrics", "result/clips"),
    ("params", "train_lora.rank"),
    ("params", "train_lora.steps"),
    ("params", "train_lora.learning_rate"),
)
"""Of the table of runs: kind and name."""


WORKFLOW = "workflowType=machine_learning"
"""Shows the pages for training; without it, a browser that was never there shows those for language models."""


def run_route(experiment: str, run_id: str, artifact: str | None = None) -> str:
    """Address of a run, or of one of its artifacts, in MLflow's pages, after the address of the server."""
    place = "" if artifact is None else f"/artifacts/{artifact}"
    return f"#/experiments/{experiment}/runs/{run_id}{place}?{WORKFLOW}"


def charts_route(experiment: str) -> str:
    """Address of the view in MLflow's pages, after the address of the server."""
    query = f"compareRunsMode=CHART&viewStateShareKey={VIEW}&{WORKFLOW}"
    return f"#/experiments/{experiment}/runs?{query}"


def describe(client: "MlflowClient", experiment: str) -> None:
    """Set kind, description and view, where they are not so; a description that a person wrote stays."""
    tags = client.get_experiment(experiment).tags
    link = f"Loss curves of all runs: [charts]({charts_route(experiment)})"
    wanted = {KIND: "custom_model_development", SHARED_VIEW: json.dumps(_view())}
    if link not in tags.get(NOTE, ""):
        wanted[NOTE] = f"{tags[NOTE]}\n\n{link}" if tags.get(NOTE) else _about(link)
    for name, value in wanted.items():
        if tags.get(name) != value:
            client.set_experiment_tag(experiment, name, value)


def _about(link: str) -> str:
    return (
        f"{link}\n\nEach run of the pipeline is one run here, named by what differs from the run before. The stages "
        f"that it built are below it. `eval/loss` is measured on held-out clips, and step 0 is the base model. The "
        f"artifact `index.html` of a run is its report."
    )


def _view() -> dict[str, Any]:
    charts = [_chart(name) for name in CHARTS]
    return {
        "selectedColumns": ["attributes.`Dataset`", *(f"{kind}.`{name}`" for kind, name in COLUMNS)],
        "compareRunCharts": charts,
        "compareRunSections": [{"uuid": "losses", "name": "Losses", "display": True, "isReordered": False}],
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
    }


def _chart(metric: str) -> dict[str, Any]:
    return {
        "uuid": metric,
        "type": "LINE",
        "deleted": False,
        "isGenerated": False,
        "metricSectionId": "losses",
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "runsCountToCompare": 10,
        "lineSmoothness": 0,
        "scaleType": "linear",
        "selectedYAxisMetricKey": metric,
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "selectedXAxisMetricKey": "",
        "range": {},
        "useGlobalXaxisKey": False,
        "useGlobalLineSmoothing": True,
    }
