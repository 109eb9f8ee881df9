"""`python -m tasks.runtime.fork_server WORKSPACE RUN_PID`: import what stages import once, and fork their processes.

torch, diffusers and transformers take seconds to import, and each stage has a process of its own. So one process of a
run imports them, the next stage's while the current one works, and forks a stage's process, which has them at once. It
does nothing else: it starts no thread and touches no GPU, since neither outlasts a fork. Some libraries look for a GPU
when they are imported (diffusers does), so GPUs are hidden from this process and seen again in what it forks.

Standard input is the run's end of a socket; its messages are those of `tasks.runtime.stage_process`. When the run's
process ends, however it ends, the socket closes and this process ends, and with it, by the signal that they asked the
kernel for, the processes of stages.

Why so: docs/decisions/fork_server.md.
"""

import ctypes
import gc
import json
import os
import selectors
import signal
import socket
import sys
import traceback
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

from tasks.runtime import child
from tasks.runtime.messages import log_to_stderr

EVERY_CHILD = ("tasks.runtime.execute", "tasks.runtime.ranks", "tasks.runtime.torchrun", "tasks.runtime.device")
"""Modules that the process of any stage imports; half a second, and no library of models."""
MAX_MESSAGE = 2**16
NUM_HANDLES = 3
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Meant for the run's process, which says here that it ends."""
NO_GPU = {"CUDA_VISIBLE_DEVICES": "", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
"""Variables by which PyTorch knows that there is no GPU without asking the driver, which is of no use to a fork of who
has asked it."""
PR_SET_NAME = 15
NAME = "ltx2:"
"""Beginning of the names of stages' processes, as `ps -e` and `top` show them."""


class Server:
    """Forks on demand; while nobody asks, imports what was announced."""

    def __init__(self, orders: socket.socket) -> None:
        self.orders = orders
        self.announced: deque[str] = deque()
        """Modules to import, in this order."""
        self.children: dict[int, socket.socket] = {}
        """By its number, where the run hears of a process that has not ended."""
        self.hidden = {name: os.environ.get(name) for name in NO_GPU}
        """Values of the same variables for the forked processes."""
        os.environ.update(NO_GPU)
        self.ignored = [number for number in ENDING if signal.getsignal(number) == signal.SIG_IGN]
        self.selector = selectors.PollSelector()
        self.selector.register(orders, selectors.EVENT_READ, self._order)
        ended, waking = os.pipe()
        os.set_blocking(waking, False)
        signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # with no handler none would be written
        self.selector.register(ended, selectors.EVENT_READ, lambda: os.read(ended, MAX_MESSAGE))
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)

    def serve(self) -> NoReturn:
        """Until the run ends."""
        while True:
            happened = self.selector.select(0 if self.announced else None)
            for key, _ in happened:
                key.data()
            self._reap()
            if not happened and self.announced:
                self._load(self.announced.popleft())

    def _order(self) -> None:
        """Fork for the request; then import what the run's later stages need."""
        message, handles, _, _ = socket.recv_fds(self.orders, MAX_MESSAGE, NUM_HANDLES)
        if not message:
            os._exit(0)  # no interpreter teardown, which takes as long as imports did
        order = json.loads(message)
        for name in order["imports"]:
            self._load(name)
        self._fork(order, handles)
        self.announced = deque(order["later"])

    def _load(self, name: str) -> None:
        if name in sys.modules:
            return
        try:
            import_module(name)
        except Exception:  # noqa: BLE001 - a process boundary: the stage that needs it fails with it, in its own log
            traceback.print_exc()
            self.announced.clear()

    def _fork(self, order: dict[str, Any], handles: Sequence[int]) -> None:
        answers, server = socket.socket(fileno=handles[0]), os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # until the child can hear them
        pid = os.fork()
        if pid == 0:
            self._become(order, server, answers, handles[1:])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        for handle in handles[1:]:
            os.close(handle)
        self.children[pid] = answers
        self.selector.register(answers, selectors.EVENT_READ, lambda: self._signal(pid))

    def _become(self, order: dict[str, Any], server: int, answers: socket.socket, streams: Sequence[int]) -> NoReturn:
        """In the fork: close what is the server's, take the streams, and do the request."""
        try:
            os.setsid()
            for other in (self.orders, answers, *self.children.values()):
                other.close()
            for number, stream in enumerate(streams, 1):
                os.dup2(stream, number)
                os.close(stream)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number in ENDING:
                signal.signal(number, signal.SIG_IGN if number in self.ignored else signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
            for name in NO_GPU:
                del os.environ[name]
            os.environ.update({name: value for name, value in self.hidden.items() if value is not None})
            os.environ.update(order["variables"])
            ctypes.CDLL(None).prctl(PR_SET_NAME, f"{NAME}{order['stage']}".encode())
            gc.freeze()  # what was imported stays
            gc.enable()
            sys.argv = [child.__name__, order["request"], str(server)]
            child.main()
        except BaseException:  # noqa: BLE001 - the process boundary
            traceback.print_exc()
        finally:
            os._exit(child.FAILED_EXIT)

    def _signal(self, pid: int) -> None:
        """Send a stage's processes the signal that the run says; a run that hears no more has ended or given up."""
        answers = self.children[pid]
        number = answers.recv(1)
        if not number:
            self.selector.unregister(answers)
            return
        try:
            os.killpg(pid, number[0])
        except ProcessLookupError:  # it has just been forked, and its session is still to come
            os.kill(pid, number[0])

    def _reap(self) -> None:
        """Say of every process that has ended how it did."""
        for pid, answers in list(self.children.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                continue
            del self.children[pid]
            with suppress(KeyError):
                self.selector.unregister(answers)
            with suppress(BrokenPipeError, ConnectionResetError):
                answers.send(str(os.waitstatus_to_exitcode(status)).encode())
            answers.close()


def main() -> None:
    """Entry point of the process."""
    orders = socket.socket(fileno=os.dup(0))
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(2, 1)
    log_to_stderr()
    gc.disable()  # imports make a million objects that stay, which it would go through again and again
    server = Server(orders)
    for name in EVERY_CHILD:
        import_module(name)
    server.serve()


if __name__ == "__main__":
    main()
