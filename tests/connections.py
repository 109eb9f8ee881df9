"""Every connection that Python processes ask for, written down by an audit hook that they all load when they start."""

import os
from collections.abc import Mapping
from pathlib import Path

HOOK = """
import os, sys
def _record(event, arguments, place={place!r}):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        wanted = arguments[1] if event in ("socket.connect", "socket.sendto") else arguments[0]
        host = wanted[0] if isinstance(wanted, tuple) else wanted
        handle = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(handle, f"{{event}}\\t{{host}}\\t{{sys.argv}}\\n".encode())
        os.close(handle)
        if not str(host).startswith({here!r}):
            raise PermissionError(f"a test wants to connect to {{host}}; tests do not use the network")
sys.addaudithook(_record)
with open({processes!r}, "a") as file:
    file.write(f"{{sys.orig_argv}}\\n")
"""
OF_TESTS = ("DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "PREFECT_SERVER_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY")
SILENCING = ("CI", "PYTEST_CURRENT_TEST", "GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL", "TF_BUILD", "BUILDKITE")
"""What makes libraries tell nothing; users' shells have none of these."""
HERE = ("127.", "::1", "localhost", "0.0.0.0", "None")
OWN = (os.uname().nodename, "/", "b'", "\0")
"""This machine's own name, and Unix sockets."""


def watched(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """A user's environment, as far as telemetry goes, in which connections are written to `folder`."""
    hook = folder / "hook"
    hook.mkdir(parents=True, exist_ok=True)
    places = {"place": str(folder / "connections.txt"), "processes": str(folder / "processes.txt")}
    (hook / "sitecustomize.py").write_text(HOOK.format(**places, here=(*HERE, *OWN)))
    unwanted = (*OF_TESTS, *SILENCING)
    mine = {n: v for n, v in environment.items() if n not in unwanted and not n.lower().endswith("_proxy")}
    return mine | {"PYTHONPATH": os.pathsep.join([str(hook), str(Path(__file__).parents[1])])}


def asked_for(folder: Path) -> list[str]:
    """Event, host and command line of each connection or look-up."""
    place = folder / "connections.txt"
    return place.read_text().splitlines() if place.exists() else []


def looked_at(folder: Path) -> str:
    """The command lines of the processes whose connections are written down, a line each."""
    return (folder / "processes.txt").read_text()


def leaving(folder: Path) -> list[str]:
    """Those that leave this machine; Unix sockets and this machine's own name do not."""
    return [line for line in asked_for(folder) if not line.split("\t")[1].startswith((*HERE, *OWN))]
