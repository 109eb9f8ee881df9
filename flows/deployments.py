"""`prefect.yaml`, made from the stages so that no deployment is missing or stale."""

from typing import Any

import yaml

from tasks import STAGES
from tasks.stage import Stage

POOL = "ltx2-lora"
FOOTAGE_EVENT = "ltx2.footage.added"
HEADER = "# Made by `ltx2-lora docs`; edit flows/deployments.py instead. A test compares.\n"


def prefect_yaml() -> str:
    """The project file that `prefect deploy --all` reads."""
    project = {
        "name": "ltx2-lora",
        "deployments": [_whole(), _retrain(), *(_stage(stage) for stage in STAGES)],
    }
    return HEADER + yaml.safe_dump(project, sort_keys=False, width=120)


def deployment_names() -> dict[str, str]:
    """Short name to Prefect's full name, flow and deployment."""
    return {d["name"]: f"{d['name']}/{d['name']}" for d in yaml.safe_load(prefect_yaml())["deployments"]}


def _deployment(name: str, entrypoint: str, description: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "entrypoint": entrypoint,
        "description": description,
        "tags": ["ltx2-lora"],
        "work_pool": {"name": POOL},
        "enforce_parameter_schema": False,  # the run itself says what is wrong, in better words
        **more,
    }


def _whole() -> dict[str, Any]:
    weekly = {"cron": "0 3 * * 1", "timezone": "UTC", "slug": "weekly", "active": False}
    text = "Footage to LoRA, all stages; reuses what did not change."
    return _deployment("ltx2-lora", "flows/ltx2_lora.py:ltx2_lora", text, schedules=[weekly])


def _retrain() -> dict[str, Any]:
    trigger = {
        "type": "event",
        "enabled": True,
        "expect": [FOOTAGE_EVENT],
        "match": {"prefect.resource.id": "ltx2.footage.*"},
        "parameters": {"config": "{{ event.payload.config }}"},
    }
    text = "Does nothing unless footage changed; started by the event that footage was added."
    return _deployment("retrain", "flows/retrain.py:retrain", text, triggers=[trigger])


def flow_attribute(stage: Stage) -> str:
    """Name under which flows/stage_flows.py holds the flow of a stage."""
    return f"stage_{stage.name}"


def _stage(stage: Stage) -> dict[str, Any]:
    text = f"The stage {stage.name} alone."
    return _deployment(f"stage-{stage.name}", f"flows/stage_flows.py:{flow_attribute(stage)}", text)
