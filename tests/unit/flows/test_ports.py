"""Whose a port is, which server is Prefect's, and what a killed `up` leaves."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from flows.server import services
from flows.server.services import end_leftovers, prefect_answers, require_free, up_record
from flows.server.supervise import own_server
from ltx_core.errors import ConfigError
from tasks.runtime.ranks import free_port
from tests.flows.lab import PROGRAMS, REPOSITORY

pytestmark = pytest.mark.whole

LISTENING = """
import signal, socket, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN if sys.argv[2] == "deaf" else signal.SIG_DFL)
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    print("listening", flush=True)
    while True: server.accept()
"""
UP = """
import os, sys, time
from flows.server.services import record_up, start
service = start("mlflow", [sys.executable, "-c", sys.argv[1], sys.argv[2], "deaf"], {})
while "listening" not in service.log.read_text(): time.sleep(0.05)
record_up([service])
print(service.process.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def taken(port: int) -> Iterator["subprocess.Popen[str]"]:
    """A process that listens there."""
    command = [sys.executable, "-c", LISTENING, str(port), "hears"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        yield process
        process.kill()


def test_a_port_that_is_taken_names_who_listens(port: int, taken: "subprocess.Popen[str]") -> None:
    named = rf"port {port} for MLflow's UI is taken by process {taken.pid} of \S+ \({sys.executable} -c .*; end it"
    with pytest.raises(ConfigError, match=f"(?s){named}"):
        require_free(port, "MLflow's UI", "end it")


def test_a_free_port_is_free_again_at_once(port: int, taken: "subprocess.Popen[str]") -> None:
    taken.kill()
    taken.wait()
    require_free(port, "MLflow's UI", "end it")


@pytest.mark.parametrize("number", [0, -1, 65536])
def test_no_port_at_all_is_refused(number: int) -> None:
    with pytest.raises(ConfigError, match=f"port {number} for x is no port; give one from 1 to 65535"):
        require_free(number, "x", "end it")


@pytest.mark.parametrize(
    ("host", "more"), [("127.0.0.1", {}), ("localhost", {}), ("[::1]", {"PREFECT_SERVER_API_HOST": "::1"})]
)
def test_the_server_listens_where_the_address_says(host: str, more: dict[str, str], port: int) -> None:
    assert own_server(f"http://{host}:{port}/api") == {"PREFECT_SERVER_API_PORT": str(port), **more}


@pytest.mark.parametrize("url", ["https://127.0.0.1:4200/api", "http://127.0.0.1:4200", "http://localhost:x/api"])
def test_an_address_at_which_no_server_can_be_started_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=rf"address is {re.escape(url)}; .* such as http://127.0.0.1:4200/api"):
        own_server(url)


@pytest.mark.extra
def test_up_stops_at_once_at_a_port_of_another(
    port: int, taken: "subprocess.Popen[str]", tmp_path: Path, write: Callable[..., Path]
) -> None:
    """Prefect's port, then MLflow's: nothing is started, and nothing is left."""
    config = write()
    for url_port, mlflow_port in ((port, free_port()), (free_port(), port)):
        url = f"http://127.0.0.1:{url_port}/api"
        environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "home"), "PREFECT_API_URL": url}
        typed = subprocess.run(
            [PROGRAMS / "ltx2-lora", "up", "--config", config, "--mlflow-port", str(mlflow_port)],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert typed.returncode == 1
        assert f"is taken by process {taken.pid} " in typed.stderr
        assert len(typed.stderr.splitlines()) <= len(LISTENING.splitlines()) + 3
        assert not list((tmp_path / "home" / "ltx2-lora").glob("logs/*"))


@pytest.mark.parametrize(
    ("health", "version", "is_prefect"),
    [
        (b"true", b'"3.8.8"', True),
        (b"true", 401, True),
        (b"OK", b"3.17.2", False),
        (b"true", b"<html>", False),
        (b"true", 404, False),
        (b'{"status": "ok"}', b'"3.8.8"', False),
        (500, b'"3.8.8"', False),
        (b"true" * 10_000, b'"3.8.8"', False),
    ],
)
def test_only_prefect_is_taken_for_prefect(health: bytes | int, version: bytes | int, is_prefect: bool) -> None:
    replies = {"/api/health": health, "/api/version": version}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reply = replies[self.path]
            self.send_response(reply if isinstance(reply, int) else 200)
            self.end_headers()
            self.wfile.write(reply if isinstance(reply, bytes) else b"")

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            assert prefect_answers(f"http://127.0.0.1:{server.server_port}/api") == is_prefect
        finally:
            server.shutdown()


def test_what_speaks_no_http_and_what_is_no_address_are_not_prefect(port: int) -> None:
    import socket

    with socket.create_server(("127.0.0.1", port)) as server:

        def greet() -> None:
            for _ in range(1):
                connection, _address = server.accept()
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
                connection.close()

        thread = threading.Thread(target=greet)
        thread.start()
        assert not prefect_answers(f"http://127.0.0.1:{port}/api")
        thread.join()
    assert not prefect_answers("127.0.0.1:4200/api")
    assert not prefect_answers(f"http://127.0.0.1:{port}/api")


def test_a_killed_up_leaves_no_service(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even one that does not hear that its parent is gone, nor SIGTERM."""
    monkeypatch.setattr(services, "LEFTOVER_SECONDS", 0.5)
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path)}
    command = [sys.executable, "-c", UP, LISTENING, str(port)]
    up = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert up.stdout is not None
    service = psutil.Process(int(up.stdout.readline()))
    with temporary_settings({PREFECT_HOME: tmp_path, PREFECT_API_URL: None}):
        assert end_leftovers() == []  # it lives
        up.send_signal(signal.SIGKILL)
        up.communicate()
        time.sleep(0.5)
        assert service.is_running()
        assert end_leftovers() == ["mlflow"]
        assert not service.is_running() or service.status() == psutil.STATUS_ZOMBIE  # until init has heard of its end
        assert end_leftovers() == []
    require_free(port, "MLflow's UI", "end it")


def write_record(home: Path, server: int) -> None:
    """The record of an `up` that is gone, whose server had this number."""
    gone = {"pid": 2**22 + 5, "started_at": 1.0, "host": os.uname().nodename}
    record = {**gone, "services": {"server": {**gone, "pid": server}, "worker": gone}}
    (home / "ltx2-lora").mkdir(exist_ok=True)
    (home / "ltx2-lora" / "up.json").write_text(json.dumps(record))


def test_a_later_process_of_a_services_number_is_left_alone(tmp_path: Path) -> None:
    later = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    with temporary_settings({PREFECT_HOME: tmp_path}):
        write_record(tmp_path, later.pid)
        assert end_leftovers() == []
        found = up_record()
    assert found is not None
    assert set(found.services) == {"server", "worker"}
    assert later.poll() is None
    later.communicate(b"\n")
    assert later.returncode == 0


OWN_SESSION = """
import os, sys
from pathlib import Path
first = os.getpid()
if os.fork():
    os._exit(0)
while os.getppid() == first:
    pass
os.setpgid(0, 0)  # a signal to its group would end it, and not the test
from prefect.settings import PREFECT_HOME, temporary_settings
from flows.server.services import end_leftovers
with temporary_settings({PREFECT_HOME: Path(sys.argv[1])}):
    from tests.unit.flows.test_ports import write_record
    write_record(Path(sys.argv[1]), os.getsid(0))
    print(end_leftovers(), flush=True)
"""


def test_the_session_of_who_asks_is_never_ended(tmp_path: Path) -> None:
    """Whose first process is gone, or lies outside of the container, so that it has no number of its own."""
    command = [sys.executable, "-c", OWN_SESSION, str(tmp_path)]
    asked = subprocess.run(
        command, check=False, cwd=REPOSITORY, capture_output=True, text=True, start_new_session=True, timeout=60
    )
    assert asked.stdout == "[]\n", asked


@pytest.mark.parametrize("number", [0, -1])
def test_a_number_of_a_group_is_no_process(tmp_path: Path, number: int) -> None:
    write_record(tmp_path, number)
    with temporary_settings({PREFECT_HOME: tmp_path}), pytest.raises(ConfigError, match="no number of a process"):
        end_leftovers()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 5}', '{"pid": "x", "started_at": 1, "host": "h"}'])
def test_a_damaged_record_is_one_message(tmp_path: Path, text: str) -> None:
    (tmp_path / "ltx2-lora").mkdir()
    (tmp_path / "ltx2-lora" / "up.json").write_text(text)
    with temporary_settings({PREFECT_HOME: tmp_path}), pytest.raises(ConfigError, match="then delete the file"):
        up_record()
