"""The pinned versions make a server that starts, takes all deployments, and schedules; a run that is typed is in it."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from rich.console import Console

from flows.server.supervise import FORMER_GPU_LIMIT, set_up
from tests.flows.lab import Lab, deployment_names, wait_for
from tests.flows.terminal import OURS, Terminal
from tests.flows.toy import FOOTAGE, Toy


@pytest.fixture
def weekly(lab: Lab) -> Iterator[DeploymentResponse]:
    """The deployment `ltx2-lora` with its schedule switched on."""
    deployment = lab.api.read_deployment_by_name("ltx2-lora/ltx2-lora")
    (schedule,) = deployment.schedules
    assert not schedule.active
    lab.api.update_deployment_schedule(deployment.id, schedule.id, active=True)
    yield deployment
    lab.api.update_deployment_schedule(deployment.id, schedule.id, active=False)


def test_the_server_imports_with_the_pinned_fastapi() -> None:
    assert importlib.import_module("prefect.server.api.server").create_app


def test_every_deployment_is_there(lab: Lab) -> None:
    found = {deployment.name: deployment for deployment in lab.api.read_deployments()}
    assert found.keys() == deployment_names().keys()
    assert {one.work_pool_name for one in found.values()} == {"ltx2-lora"}


def test_the_weekly_schedule_makes_runs_once_it_is_active(lab: Lab, weekly: DeploymentResponse) -> None:
    """SQLAlchemy 2.1 under Prefect 3.8 makes none, and says nothing."""
    scheduled = wait_for("scheduled run", lambda: [run for run in lab.runs("ltx2-lora") if run.auto_scheduled])
    assert {run.deployment_id for run in scheduled} == {weekly.id}
    times = [run.expected_start_time for run in scheduled if run.expected_start_time]
    assert {(time.strftime("%A"), time.hour) for time in times} == {("Monday", 3)}


def test_up_takes_away_the_gpu_limit_of_earlier_versions(lab: Lab, finished: UUID) -> None:
    """The run went by it, though its only slot is held for ever."""
    assert finished
    assert lab.api.read_global_concurrency_limit_by_name(FORMER_GPU_LIMIT).active_slots == 1
    with lab.settings():
        set_up(Console(quiet=True))
    with pytest.raises(ObjectNotFound):
        lab.api.read_global_concurrency_limit_by_name(FORMER_GPU_LIMIT)


def test_no_deployment_waits_for_another_run(lab: Lab) -> None:
    """A run that was killed would hold Prefect's limit for minutes."""
    for deployment in lab.api.read_deployments():
        assert deployment.global_concurrency_limit is None
    assert lab.api.read_work_pool("ltx2-lora").concurrency_limit is None


def test_a_user_s_error_is_one_message_and_all_else_is_in_prefect_s_log(lab: Lab, toy: Toy, tmp_path: Path) -> None:
    wrong = toy.variant("nothing")
    footage = wrong.own_footage()
    for path in footage.iterdir():
        if path.name != FOOTAGE[-1]:
            path.unlink()
    said = Terminal(tmp_path, tmp_path / "home", PREFECT_API_URL=lab.url).type("run", str(wrong.config))
    assert (said.code, said.out) == (1, ""), said.err
    *before, last = said.err.splitlines()
    assert last.startswith("DataError: probe quarantined 1 of 1 files (1 empty_file); at most 25% is allowed.")
    assert all(OURS.fullmatch(line) for line in before), said.err
    (run,) = lab.runs_with(wrong.config)
    assert "Finished in state Failed" in lab.log(run)
    assert "Traceback" not in lab.log(run)
