"""Server, worker and MLflow UI: started with logs, waited for, ended together."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ltx_core.errors import TransientError
from ltx_core.files.atomic import write_bytes
from ltx_core.process import ProcessRecord

END_SECONDS = 25.0


@dataclass(frozen=True)
class Service:
    """One running service, and how it was started."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self.process.poll() is not None

    def again(self) -> "Service":
        """Start it anew."""
        return start(self.name, self.command, self.environment)

    def end(self) -> None:
        """Ask by SIGINT, then by SIGTERM, then end it."""
        for number, patience in ((signal.SIGINT, END_SECONDS), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            if self.ended:
                return
            self.process.send_signal(number)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                continue


def start(name: str, command: list[str], environment: Mapping[str, str]) -> Service:
    """Start a service that ends with this process; what it prints goes to its log."""
    log = home() / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.bound", str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**with_programs(os.environ), **environment},
            start_new_session=True,
        )
    return Service(name, command, environment, process, log)


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


def record_up() -> None:
    """Leave word which process is `up`."""
    write_bytes(home() / "up.json", json.dumps(asdict(ProcessRecord.own())).encode())


def up_record() -> ProcessRecord | None:
    """Which process is or was `up`."""
    path = home() / "up.json"
    return ProcessRecord.of(json.loads(path.read_text())) if path.exists() else None


def forget_up() -> None:
    """Take the word back."""
    (home() / "up.json").unlink(missing_ok=True)
