"""`python -m ltx_core.media.worker_process FD PARENT_PID`: does what it is sent, one piece of work at a time.

Decoders are C code at work on bytes from anywhere: what crashes or never ends here ends this process and no other. It
imports no torch, and dies with its parent, also when it hangs.
"""

import contextlib
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from ltx_core.errors import LtxError

PR_SET_PDEATHSIG = 1
DONE, RAISED, BROKE = "done", "raised", "broke"
"""An answer: a result, an error that says what is wrong with a file, or another error."""


def answer(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[str, Any]:
    """Call the function; the boundary of this process, where every exception becomes an answer."""
    try:
        return DONE, function(*arguments)
    except LtxError as error:
        return RAISED, error
    except Exception as error:  # noqa: BLE001 - the process boundary: the file's verdict, with its traceback in the log
        with contextlib.suppress(OSError):  # a log on a full disk is not the file's fault
            traceback.print_exc()
        return BROKE, f"{type(error).__name__}: {error}"


def main() -> None:
    """Answer until nobody asks any more."""
    fd, parent = (int(word) for word in sys.argv[1:3])
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, which is for the parent to hear
    from ltx_core.media import container

    connection = Connection(fd)
    while True:
        try:
            function, arguments, container.DECODER_THREADS = connection.recv()
        except EOFError:
            return
        connection.send(answer(function, arguments))


if __name__ == "__main__":
    main()
