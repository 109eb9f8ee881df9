"""Server, worker and MLflow UI: started with logs, asked whether they answer, ended together."""

import errno
import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from ltx_core.errors import ConfigError, TransientError
from ltx_core.io.atomic import write_bytes
from ltx_core.io.lock import named_holder, read_holder, taken
from ltx_core.process import ProcessRecord

LOCAL = "127.0.0.1"
UI_VARIABLE = "LTX2_MLFLOW_UI"
"""Address of the MLflow UI that `ltx2-lora up` started, in the environment of its services and of the flow runs that
its worker starts. A run that is typed finds it by `up_record`."""


def require_free(port: int, wanted_for: str, remedy: str) -> None:
    """See that a service can listen on a port of this machine.

    Raises:
        ConfigError: another process listens there, which is named, or this user may not use the port.
    """
    if not 0 < port < 2**16:
        raise ConfigError(f"port {port} for {wanted_for} is no port; give one from 1 to {2**16 - 1}")
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do, past connections that linger
        try:
            listener.bind((LOCAL, port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            why = f"is taken by {listening_process(port)}" if taken else f"cannot be used: {error.strerror}"
            raise ConfigError(f"port {port} for {wanted_for} {why}; {remedy}") from error


def listening_process(port: int) -> str:
    """The process that listens on a port, as far as this user may see it."""
    try:
        found = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    except psutil.AccessDenied:  # macOS tells root alone
        found = []
    pids = {one.pid for one in found if one.laddr.port == port and one.pid is not None}
    if not pids:
        return "a process of another user, which this one may not see"
    return " and ".join(_described(pid) for pid in sorted(pids))


def _described(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        return f"process {pid} of {process.username()} ({shlex.join(process.cmdline())[:200]})"
    except psutil.Error:  # it ended meanwhile, or hides its command
        return f"process {pid}"


END_SECONDS = 25.0
LEFTOVER_SECONDS = 10.0


@dataclass(frozen=True)
class Service:
    """One running service, and how it was started."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes]
    log: Path
    record: ProcessRecord

    @property
    def ended(self) -> bool:
        """True if it runs no more."""
        return self.process.poll() is not None

    def again(self) -> "Service":
        """Start it anew, when what is left of it no longer holds its port."""
        self._end_rest()
        return start(self.name, self.command, self.environment)

    def end(self) -> None:
        """Ask by SIGINT, then by SIGTERM, then end it; and what it had started and left."""
        for number, patience in ((signal.SIGINT, END_SECONDS), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            if self.ended:
                break
            self.process.send_signal(number)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
        self._end_rest()

    def _end_rest(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)


def start(name: str, command: list[str], environment: Mapping[str, str]) -> Service:
    """Start a service that ends with this process; what it prints goes to its log."""
    log = home() / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.server.bound", str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**with_programs(os.environ), **environment},
            start_new_session=True,
        )
    return Service(name, command, environment, process, log, ProcessRecord.number(process.pid))


def with_programs(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment, in which `prefect` and `mlflow` are those installed with us, activated or not."""
    return {**environment, "PATH": os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])}


def wait_until(ready: Callable[[], bool], service: Service, seconds: float) -> None:
    """Wait until a service answers.

    Raises:
        TransientError: it ended, or did not answer in time; names its log.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if service.ended:
            raise TransientError(
                f"{service.name} ended with exit code {service.process.returncode} before it answered; "
                f"see {service.log}"
            )
        if time.monotonic() > deadline:
            raise TransientError(f"{service.name} did not answer within {seconds:g} s; see {service.log}")
        time.sleep(0.2)


def home() -> Path:
    """Where logs and records of `up` lie: beside Prefect's own state."""
    from prefect.settings import get_current_settings

    return Path(get_current_settings().home) / "ltx2-lora"


@dataclass(frozen=True)
class UpRecord:
    """The process that is or was `up`, and its services by name."""

    process: ProcessRecord
    services: Mapping[str, ProcessRecord]
    mlflow_url: str | None = None
    """Address of its MLflow UI, once that was started."""


@contextmanager
def only_up() -> Iterator[None]:
    """Be the only `up` of this Prefect home; the kernel ends that when the process ends, however it ends.

    Raises:
        ConfigError: there is another.
    """
    home().mkdir(parents=True, exist_ok=True)
    handle = os.open(home() / "up.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not taken(handle):
            holder = read_holder(handle)
            who = f"process {holder.process.pid}" if holder is not None else "it has only begun"
            raise ConfigError(f"`ltx2-lora up` runs already ({who}); `ltx2-lora down` ends it")
        with named_holder(handle, "ltx2-lora up"):
            yield
    finally:
        os.close(handle)


def record_up(services: Sequence[Service]) -> None:
    """Leave word which process is `up`, and what it has started."""
    started = {service.name: asdict(service.record) for service in services}
    addresses = [service.environment[UI_VARIABLE] for service in services if UI_VARIABLE in service.environment]
    values = {**asdict(ProcessRecord.own()), "services": started, "mlflow_url": next(iter(addresses), None)}
    write_bytes(_record(), json.dumps(values).encode())


def up_record() -> UpRecord | None:
    """Return which process is or was `up`.

    Raises:
        ConfigError: what was written of it cannot be read.
    """
    try:
        values = json.loads(_record().read_bytes())
        services = {name: ProcessRecord.of(one) for name, one in values.get("services", {}).items()}
        return UpRecord(ProcessRecord.of(values), services, values.get("mlflow_url"))
    except FileNotFoundError:
        return None
    except (AttributeError, KeyError, TypeError, ValueError) as problem:
        raise ConfigError(
            f"{_record()} does not say which processes `ltx2-lora up` has started ({problem!r}): end those that still "
            "run (`ps -ef` shows them), then delete the file"
        ) from problem


def forget_up() -> None:
    """Take the word back."""
    _record().unlink(missing_ok=True)


def end_leftovers() -> list[str]:
    """End the services of an `up` that was killed, and what they had started; the names of those that were left."""
    record = up_record()
    if record is None or record.process.is_alive():
        return []
    left = {name: of_session(service) for name, service in record.services.items()}
    for number in ("terminate", "kill"):
        alive = [process for processes in left.values() for process in processes if process.is_running()]
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                getattr(process, number)()
        psutil.wait_procs(alive, timeout=LEFTOVER_SECONDS)
    return [name for name, processes in left.items() if processes]


def of_session(leader: ProcessRecord) -> list[psutil.Process]:
    """The processes of a session that a service began, by its first one, which may be gone."""
    if not leader.is_here or leader.pid == os.getsid(0):  # a service never shares the session of who asks
        return []
    if psutil.pid_exists(leader.pid) and not leader.is_alive() and not _is_zombie(leader.pid):
        return []  # the number belongs to another process by now
    return [one for one in psutil.process_iter() if _session_of(one.pid) == leader.pid and not _is_zombie(one.pid)]


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _record() -> Path:
    return home() / "up.json"


PROBE_SECONDS = 2.0
MAX_BYTES = 1000
"""No reply that is wanted is longer."""
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""Names of this machine, as a browser gives them in `Host` and `Origin`."""


def api_url() -> str | None:
    """Address of Prefect's API as this folder and environment configure it."""
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


def needed_api_url() -> str:
    """`api_url`, where nothing can be done without one.

    Raises:
        ConfigError: none is configured.
    """
    if url := api_url():
        return url
    raise ConfigError(
        "Prefect does not know where its server is to be: run this where a prefect.toml sets api.url, as in the clone, "
        "or set PREFECT_API_URL=http://127.0.0.1:4200/api here and in terminals that use it"
    )


def answers(url: str) -> bool:
    """Return whether an HTTP address gives a good answer."""
    return _asked(url)[0] == http.HTTPStatus.OK


def prefect_answers(url: str) -> bool:
    """Return whether Prefect's API answers at `url` and is healthy. Another service that has a /health is none: Prefect
    says `true` there, and elsewhere its version, or that only who is named in `api.auth_string` may ask for that."""
    status, health = _asked(f"{url}/health")
    if status != http.HTTPStatus.OK or health is not True:
        return False
    status, version = _asked(f"{url}/version")
    named = status == http.HTTPStatus.OK and isinstance(version, str) and re.match(r"\d+\.\d+", version) is not None
    return named or status == http.HTTPStatus.UNAUTHORIZED


def _asked(url: str) -> tuple[int | None, object]:
    """Status and JSON of a reply, None for what there is not."""
    try:
        with urllib.request.urlopen(url, timeout=PROBE_SECONDS) as reply:
            status, body = reply.status, reply.read(MAX_BYTES)
    except urllib.error.HTTPError as error:
        return error.code, None
    except (OSError, http.client.HTTPException, ValueError):  # nobody, no HTTP, no address
        return None, None
    try:
        return status, json.loads(body)
    except ValueError:
        return status, None


def server_answers() -> bool:
    """Return whether a Prefect server is configured and healthy."""
    url = api_url()
    return bool(url) and prefect_answers(str(url))


def require_server() -> None:
    """Refuse to go on without a server.

    Raises:
        ConfigError: none answers.
    """
    if not server_answers():
        raise ConfigError(f"no Prefect server answers at {needed_api_url()}; start one with `ltx2-lora up`")
