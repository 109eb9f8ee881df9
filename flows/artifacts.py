"""What a run leaves in Prefect's UI: the stage table, the quarantine table, links to MLflow, pictures."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from prefect.artifacts import create_image_artifact, create_link_artifact, create_table_artifact

from flows.config import RunConfig
from flows.mlflow_address import run_address
from flows.report import QUARANTINE_HEADERS, STAGE_HEADERS, quarantine_rows, stage_rows
from ltx_core.files.atomic import find_whole
from ltx_core.gallery.cells import Badge, Cell
from tasks.perform import StageResult
from tasks.tracking import TrackedRun

PICTURE_EDGE = 1000
"""Longest edge in pixels of a picture kept inside Prefect's database."""


def publish(results: list[StageResult], run: TrackedRun, config: RunConfig) -> None:
    """Make the artifacts of a finished run."""
    create_table_artifact(
        table=_plain(STAGE_HEADERS, stage_rows(results)), key="stages", description="What each stage did."
    )
    create_table_artifact(
        table=_plain(QUARANTINE_HEADERS, quarantine_rows(results)),
        key="quarantine",
        description="Items that were set aside, each with its reason.",
    )
    create_link_artifact(link=run_address(config, run), link_text="MLflow run", key="mlflow-run")
    for result in results:
        for picture in find_whole(result.run.out, "*.png"):
            create_image_artifact(
                image_url=_data_uri(picture),
                key=f"picture-{picture.stem}".lower().replace("_", "-").replace(".", "-"),
                description=f"{result.summary.stage}: {picture.name}",
            )


def _plain(headers: Sequence[str], rows: Sequence[Sequence[Cell]]) -> list[dict[str, object]]:
    plain = [[cell.text if isinstance(cell, Badge) else cell for cell in row] for row in rows]
    return [dict(zip(headers, row, strict=True)) for row in plain]


def _data_uri(picture: Path) -> str:
    """The picture itself, scaled down: it is seen whether or not MLflow's server runs."""
    out = io.BytesIO()
    with Image.open(picture) as image:
        image.thumbnail((PICTURE_EDGE, PICTURE_EDGE))
        image.convert("RGB").save(out, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
