"""Start server, worker and MLflow UI, keep them running, mark runs whose process is gone, end all together."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound
from rich.console import Console

from flows.config import config_warnings, load_config
from flows.flows import CONFIG_VARIABLE
from flows.generated import STORE, prefect_yaml
from flows.prefect_run import crash_dead_runs
from flows.server.processes import end_dead_runs
from flows.server.services import (
    LOOPBACK,
    UI_VARIABLE,
    Service,
    answers,
    end_leftovers,
    forget_up,
    home,
    needed_api_url,
    only_up,
    prefect_answers,
    record_up,
    require_free,
    start,
    wait_until,
    with_programs,
)
from ltx_core.errors import ConfigError, TransientError
from ltx_core.io.atomic import write_bytes
from tasks.runtime.device import count_gpus
from tasks.tracking.mlflow import answering, tracking_uri

RUN_COMMAND = "prefect deployment run ltx2-lora/ltx2-lora"
"""Written out in full: `up` also runs in folders without our prefect.toml, where Prefect knows no short names."""


def set_up(console: Console) -> None:
    """Make the work pool, and settle what earlier workers left."""
    asyncio.run(_make_work_pool())
    with get_client(sync_client=True) as client:
        tell_crashed(client, console)


def tell_crashed(client: SyncPrefectClient, console: Console) -> None:
    """Mark runs whose process is gone, and say which."""
    for name in crash_dead_runs(client):
        console.print(f"run {name} lost its process and is marked crashed; `prefect flow-run retry` goes on with it")


INSTALLED = Path(__file__).parents[2]
"""The folder of this package, from which a worker loads the flows."""
HTTP_PORT = 80
"""Of an address that names none."""
FORMER_GPU_LIMIT = "gpu"
"""Earlier versions held GPUs by this limit of the server, whose slots outlived their holders; now the kernel's locks in
tasks/runtime/device.py are all that holds one, and nothing asks for this."""


async def _make_work_pool() -> None:
    async with get_client() as client:
        await client.create_work_pool(WorkPoolCreate(name=STORE, type="process"), overwrite=True)
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


RECONCILE_SECONDS = 5.0
MAX_RESTARTS = 20
SLOT_WAIT_SECONDS = 5.0
"""Seconds after which a run that waits for a GPU asks again; Prefect's default is up to half a minute."""


def supervise(config: Path, mlflow_port: int) -> None:
    """Run until ctrl-C, SIGTERM or `ltx2-lora down`.

    Raises:
        ConfigError: `up` runs already, the configuration cannot work, or no server address is set.
        TransientError: a service did not come up, or ends again and again; names its log.
    """
    with only_up():
        _supervise(config, mlflow_port, Console(highlight=False, soft_wrap=True))


def _supervise(config: Path, mlflow_port: int, console: Console) -> None:
    load_config(config, {})  # a configuration that cannot work is refused now, not when a run starts
    for warning in config_warnings(config, {}):
        console.print(f"warning: {warning}", markup=False)
    if left := end_leftovers():
        console.print(f"ended what an `up` that was killed had left: {', '.join(left)}")
    require_free(mlflow_port, "MLflow's UI", "end it, or give another with --mlflow-port")
    services: list[Service] = []
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts `up &` with SIGINT ignored
        signal.signal(number, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` has it
        signal.signal(signal.SIGHUP, _interrupt)
    record_up(services)
    try:
        console.print("starting; ctrl-C or `ltx2-lora down` ends everything")
        _start_all(config, mlflow_port, services, console)
        _watch(services, console)
    except KeyboardInterrupt:
        console.print("ending")
    finally:
        _end_all(services, console)
        forget_up()


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _start_all(config: Path, mlflow_port: int, services: list[Service], console: Console) -> None:
    url = needed_api_url()
    server_place = own_server(url)
    mlflow_url = f"http://127.0.0.1:{mlflow_port}"
    environment = {
        CONFIG_VARIABLE: str(config.resolve()),
        UI_VARIABLE: mlflow_url,
        "PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS": f"{SLOT_WAIT_SECONDS:g}",
    }
    mlflow = _start_mlflow(config, mlflow_port, environment)
    _add(services, mlflow)
    if server_place is not None:
        server = start("server", [sys.executable, "-m", "flows.server.api_server"], {**environment, **server_place})
        _add(services, server)
        wait_until(lambda: prefect_answers(url), server, 120)
    set_up(console)
    deploy_all(environment)
    _add(services, _start_worker(environment))
    wait_until(lambda: answers(f"{mlflow_url}/health"), mlflow, 120)
    console.print(f"Prefect  {url.removesuffix('/api')}\nMLflow   {mlflow_url}\nGPUs     {count_gpus()}")
    console.print(f"run it   {RUN_COMMAND}", style="bold")


def own_server(url: str) -> dict[str, str] | None:
    """Return the variables by which the server that `up` starts listens at this address of this machine; None
    for another machine's, which answers. The address alone says where, whatever `server.api.port` is.

    Raises:
        ConfigError: somebody listens there, it is none of Prefect's API, or no Prefect server answers on another
            machine.
    """
    place = urlsplit(url)
    if place.hostname in ("127.0.0.1", "localhost", "::1"):
        port = _port(url)
        require_free(port, f"Prefect's server at {url}", "end it, or set another port in api.url of prefect.toml")
        host = {"PREFECT_SERVER_API_HOST": place.hostname} if place.hostname == "::1" else {}
        return {"PREFECT_SERVER_API_PORT": str(port), **host}
    if not prefect_answers(url):
        raise ConfigError(
            f"no Prefect server answers at {url}, which is another machine: start it there, or set api.url to "
            f"an address of this one, such as http://127.0.0.1:4200/api, and `up` starts it"
        )
    return None


def _port(url: str) -> int:
    """Port of an address at which `up` can start Prefect's server.

    Raises:
        ConfigError: it cannot.
    """
    place = urlsplit(url)
    with suppress(ValueError):  # of a port that is no number
        if place.scheme == "http" and place.path.rstrip("/") == "/api":
            return place.port or HTTP_PORT
    raise ConfigError(
        f"Prefect's address is {url}; the server that `up` starts on this machine is at an address such as "
        f"http://127.0.0.1:4200/api. Set that as api.url of prefect.toml, or in PREFECT_API_URL"
    )


def _add(services: list[Service], service: Service) -> None:
    """Keep a service, and leave word of it for an `up` or `down` after this one was killed."""
    services.append(service)
    record_up(services)


def _start_worker(environment: dict[str, str]) -> Service:
    """Plugins off: they are for the command line, and the worker's event loop complains of them."""
    quiet = {**environment, "PREFECT_PLUGINS_ENABLED": "0", "PREFECT_WORKER_QUERY_SECONDS": "5"}
    return start("worker", [sys.executable, "-m", "prefect", "worker", "start", "--pool", STORE], quiet)


def _start_mlflow(path: Path, port: int, environment: dict[str, str]) -> Service:
    """Its database is made before it looks for it; the address is in no command line, which all users see."""
    config = load_config(path, {})
    end_dead_runs(*answering(config.tracking, config.place()))
    command = [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1"]
    uri = {"MLFLOW_BACKEND_STORE_URI": tracking_uri(config.tracking, config.place())}
    quiet = {**environment, **uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return start("mlflow", command, {"MLFLOW_SERVER_ALLOWED_HOSTS": _own_hosts(port), **os.environ, **quiet})


def _own_hosts(port: int) -> str:
    """Return what requests to MLflow's UI may name as their host; its default takes 10.example.com for a private
    address."""
    return ",".join(name for host in LOOPBACK for name in (host, f"{host}:{port}"))


def _watch(services: list[Service], console: Console) -> None:
    """Until ctrl-C: start services that ended again, and mark runs whose process is gone."""
    restarts = 0
    with get_client(sync_client=True) as client:
        while restarts <= MAX_RESTARTS:
            tell_crashed(client, console)
            for place, service in enumerate(services):
                if service.ended:
                    console.print(
                        f"{service.name} ended with exit code {service.process.returncode}; starting it again"
                    )
                    services[place] = service.again()
                    record_up(services)
                    restarts += 1
            time.sleep(RECONCILE_SECONDS)
    raise TransientError(f"services ended {restarts} times; see the logs in {services[0].log.parent}")


def _end_all(services: list[Service], console: Console) -> None:
    """Worker first, so that its runs are cancelled while the server still listens."""
    os.environ["PREFECT_PLUGINS_ENABLED"] = "0"
    for service in reversed(services):
        service.end()
        console.print(f"{service.name} ended")
