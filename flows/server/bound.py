"""`python -m flows.server.bound PARENT_PID COMMAND...`: become COMMAND, and end when the parent does.

SIGINT gets its default back, because a service started from a script with `&` would ignore it, and Prefect turns its
first SIGTERM into SIGINT.
"""

import os
import signal
import sys

from tasks.runtime.child import die_with_parent


def main() -> None:
    """Replace this process; the parent-death signal survives that."""
    die_with_parent(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
