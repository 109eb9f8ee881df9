"""What a Prefect server needs before runs: a work pool, the deployments. Safe to repeat."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound
from rich.console import Console

from flows.deployments import POOL, prefect_yaml
from flows.reconcile import crash_dead_runs
from flows.services import home, with_programs
from ltx_core.errors import TransientError
from ltx_core.files.atomic import write_bytes


def set_up(console: Console) -> None:
    """Make the work pool, and settle what earlier workers left."""
    asyncio.run(_make_pool())
    with get_client(sync_client=True) as client:
        tell_crashed(client, console)


def tell_crashed(client: SyncPrefectClient, console: Console) -> None:
    """Mark runs whose process is gone, and say which."""
    for name in crash_dead_runs(client):
        console.print(f"run {name} lost its process and is marked crashed; `prefect flow-run retry` goes on with it")


INSTALLED = Path(__file__).parents[1]
"""The folder of this package, from which a worker loads the flows."""
FORMER_GPU_LIMIT = "gpu"
"""Earlier versions held GPUs by this limit of the server, whose slots outlived their holders; now the kernel's locks in
tasks/gpus.py are all that holds one, and nothing asks for this."""


async def _make_pool() -> None:
    async with get_client() as client:
        await client.create_work_pool(WorkPoolCreate(name=POOL, type="process"), overwrite=True)
        with suppress(ObjectNotFound):
            await client.delete_global_concurrency_limit_by_name(FORMER_GPU_LIMIT)


def deploy_all(environment: Mapping[str, str]) -> None:
    """Deploy everything from where the program is installed, be that a clone or not, wherever this was started.

    Raises:
        TransientError: Prefect refused; with what it said.
    """
    project = home() / "prefect.yaml"
    write_bytes(project, prefect_yaml().encode())
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(project)],
        cwd=INSTALLED,
        env={**with_programs(os.environ), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise TransientError(f"`prefect deploy --all` failed:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
