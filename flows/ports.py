"""Who listens on a port that `up` wants."""

import errno
import shlex
import socket

import psutil

from ltx_core.errors import ConfigError

LOCAL = "127.0.0.1"


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
