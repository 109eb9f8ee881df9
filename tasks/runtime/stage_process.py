"""The process of a stage as the run's process sees it: forked by the run's fork server, heard, signalled, waited for.

One server serves all launches of a process, as long as it would do what a new one does: it has the environment and the
working folder of the moment it was started. Our own variables, which no library reads when it is imported, go with each
order.
"""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from tasks.runtime.stage import Stage
from tasks.runtime.workspace import Workspace

MAX_ANSWER = 16
"""Bytes of an exit code."""
OUR_VARIABLES = "LTX2_"
"""Beginning of their names."""


class ForkServerClient:
    """`tasks.runtime.fork_server` in a session of its own, for one workspace."""

    def __init__(self, workspace: Workspace, environment: dict[str, str], errors: int) -> None:
        """Start it; errors of a time before there is a stage's process go to `errors`, a file descriptor."""
        self.environment, self.folder, self.owner = environment, Path.cwd(), os.getpid()
        self.num_stages = 0
        """Processes of stages that it was asked for and that are still heard."""
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tasks.runtime.fork_server", str(workspace.root), str(self.owner)],
                stdin=theirs.fileno(),
                stdout=errors,
                stderr=errors,
                start_new_session=True,
                env=environment,
            )

    def serves(self, environment: dict[str, str]) -> bool:
        """Return whether it runs and would do what a new one does."""
        same = self.owner == os.getpid() and self.environment == environment and self.folder == Path.cwd()
        return same and self.process.poll() is None

    def order(self, handles: Sequence[int], **order: Any) -> None:
        """Send one message; a server that is gone is found so by who waits for what it forks."""
        with suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(self.socket, [json.dumps(order).encode()], handles)

    def end(self) -> None:
        """End it, whatever it imports, and with it the processes of its stages, if any is left."""
        if self.owner == os.getpid():
            self.process.kill()
            self.process.wait()
        self.socket.close()


class StageProcess:
    """A stage's process: in a session of its own, and its own session's first process."""

    def __init__(self, server: ForkServerClient, answers: socket.socket, events: IO[bytes]) -> None:
        self.server, self.stdout = server, events
        self.is_lost = False
        """It ended with its server, or never began."""
        self._answers = answers

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code, negative for the signal that ended it. If its server is gone, with which it ends, then
        the server's.

        Raises:
            TimeoutError: it has not ended after so many seconds.
        """
        self._answers.settimeout(timeout)
        try:
            answer = self._answers.recv(MAX_ANSWER)
        except ConnectionResetError:
            answer = b""
        self.is_lost = not answer
        return int(answer) if answer else self.server.process.wait() or 1

    def send_signal(self, number: signal.Signals) -> None:
        """To it and all that it has started. The server does it, since it knows whether the process is still there."""
        with suppress(BrokenPipeError, ConnectionResetError):  # it has ended, or its server has
            self._answers.send(bytes([number]))

    def close(self) -> None:
        """Hear no more of it; it has ended."""
        self.stdout.close()
        self._answers.close()
        with _lock:
            self.server.num_stages -= 1


_lock = threading.Lock()
_servers: list[ForkServerClient] = []
"""The one that serves, last; earlier ones have a stage's process still."""


def start_stage(
    request: Path, stage: Stage[Any, Any], later: Sequence[Stage[Any, Any]], log: Path, workspace: Workspace
) -> StageProcess:
    """Start a stage's process; what it prints goes to the log, its events come through its pipe. While it works, what
    the `later` stages import is imported for them."""
    with log.open("ab") as out:
        with _lock:
            server = _server(workspace, out.fileno())
            server.num_stages += 1
        answers, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reading, writing = os.pipe()
        with theirs, os.fdopen(writing, "wb") as events:
            handles = [theirs.fileno(), events.fileno(), out.fileno()]
            modules = {"imports": stage.imports, "later": imports_of(later)}
            variables = {name: value for name, value in os.environ.items() if name.startswith(OUR_VARIABLES)}
            server.order(handles, request=str(request), stage=stage.name, variables=variables, **modules)
    return StageProcess(server, answers, os.fdopen(reading, "rb"))


def imports_of(later: Sequence[Stage[Any, Any]]) -> list[str]:
    """Return the modules that are worth importing for them, in their order: none if the first needs none, since the
    server does not fork while it imports."""
    return list(dict.fromkeys(name for stage in later for name in stage.imports)) if later and later[0].imports else []


def _server(workspace: Workspace, errors: int) -> ForkServerClient:
    """The one that serves now; others of which nobody hears any more are ended."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OUR_VARIABLES)}
    environment = compile_caches(workspace) | inherited
    if not _servers or not _servers[-1].serves(environment):
        end_servers(lambda server: server.num_stages == 0 or server.owner != os.getpid())
        _servers.append(ForkServerClient(workspace, environment, errors))
    return _servers[-1]


def compile_caches(workspace: Workspace) -> dict[str, str]:
    """Environment in which compilers keep what they made in the workspace; libraries read it when imported."""
    folder = workspace.compiled.resolve()
    return {"TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"), "TRITON_CACHE_DIR": str(folder / "triton")}


def end_servers(chosen: Callable[[ForkServerClient], bool] = lambda _: True) -> None:
    """End those of this process's servers."""
    for server in [server for server in _servers if chosen(server)]:
        server.end()
        _servers.remove(server)


atexit.register(end_servers)
