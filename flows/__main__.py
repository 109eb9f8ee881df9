"""Where `ltx2-lora` begins and ends: outside the command itself, ctrl-C just ends the process."""

import atexit
import gc
import signal
import sys


def main() -> int:
    """Run the command line.

    While its modules are imported, and after the command is done, nothing can be left half done, and an exception
    raised by ctrl-C there would only print a traceback; a shell's background job, which ignores ctrl-C, goes on to.
    """
    atexit.register(gc.freeze)  # else Python goes through all that was imported once more before it ends, for a second
    handler = signal.getsignal(signal.SIGINT)
    outside = signal.SIG_DFL if handler is signal.default_int_handler else handler
    signal.signal(signal.SIGINT, outside)
    from flows.cli import import_given
    from flows.cli import main as command_line

    import_given(sys.argv[1:])
    try:
        signal.signal(signal.SIGINT, handler)
        return command_line()
    except KeyboardInterrupt:  # before the command began
        return 128 + signal.SIGINT
    finally:
        signal.signal(signal.SIGINT, outside)


if __name__ == "__main__":
    sys.exit(main())
