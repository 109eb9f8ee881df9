"""Where `ltx2-lora` begins and ends: outside the command itself, ctrl-C just ends the process."""

import atexit
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import NoReturn


def main() -> int:
    """Run the command line.

    While its modules are imported, and after the command is done, nothing can be left half done, and an exception
    raised by ctrl-C there would only print a traceback; a shell's background job, which ignores ctrl-C, goes on to.
    """
    handler = signal.getsignal(signal.SIGINT)
    outside = signal.SIG_DFL if handler is signal.default_int_handler else handler
    signal.signal(signal.SIGINT, outside)
    from flows.cli.app import import_given
    from flows.cli.app import main as command_line

    import_given(sys.argv[1:])
    try:
        signal.signal(signal.SIGINT, handler)
        return command_line()
    except KeyboardInterrupt:  # before the command began
        return 128 + signal.SIGINT
    finally:
        signal.signal(signal.SIGINT, outside)


def entry() -> NoReturn:
    """`main`, then the end of the process: threads are waited for, what libraries registered for the end is done, and
    all is written. Python's teardown after that is left out: for a second it goes through all that was imported, and a
    library's thread that still ran then has ended a command, which was done, with SIGABRT.
    """
    code = main()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody reads it any more, or its disk is full, which the command has reported
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    entry()
