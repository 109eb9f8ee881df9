"""`python -m tasks.follow REQUEST PARENT_PID`: a rank other than the first; computes its share, writes nothing.

Started by the first rank (see `tasks.ranks`). It runs the stage's body on the same request; what that returns is the
first rank's to keep. Standard output says one thing at most: what it failed with.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from tasks.child import PR_SET_PDEATHSIG, serve
from tasks.reporter import STOPPED_EXIT, Reporter


class Follower:
    """Progress that nobody listens to; asked to stop as its reporter is."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter

    @property
    def stopping(self) -> bool:
        """Whether this process was asked to stop; the ranks stop together."""
        return self.reporter.stopping

    def advance(self, done: int, total: int, unit: str) -> None:
        """The first rank says it."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """The first rank says it."""

    def note(self, message: str) -> None:
        """Keep it in the log: it may differ from what the first rank says."""
        sys.stderr.write(f"rank {os.environ['RANK']}: {message}\n")


def follow(request: Path, reporter: Reporter) -> None:
    """Run the body of the requested stage.

    Raises:
        LtxError: what the stage found wrong.
    """
    from tasks.request import read_request

    run = read_request(request, Follower(reporter))
    run.stage.run(run)


def die_at_once_with(parent: int) -> None:
    """Ask the kernel for SIGKILL when the first rank ends: this one has nothing to finish without it."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(STOPPED_EXIT)


def main() -> None:
    """Entry point of the process."""
    serve(follow, die_at_once_with)


if __name__ == "__main__":
    main()
