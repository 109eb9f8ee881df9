"""Run a stage as several processes: the child is the first rank, starts the others, and ends with them.

`python -m tasks.runtime.ranks REQUEST PARENT_PID` is another rank: it runs the stage's body on the same request and
writes nothing, since what that returns is the first rank's to keep. Its standard output says one thing at most: what it
failed with.

A rank that dies leaves the others waiting, over gloo for a moment and over NCCL without end. So the child watches them:
when one ends before its time, the child has `PATIENCE_SECONDS` to come out by itself, and is ended then.

Why so: docs/decisions/own_ranks.md.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ltx_core import errors
from ltx_core.process import oom_kills
from ltx_core.progress import Silent
from tasks.runtime.child import serve
from tasks.runtime.launch import error_named, silent_death
from tasks.runtime.messages import Reporter, read_request

PATIENCE_SECONDS = 10.0
STOPPED = "Stopped"


class Follower:
    """Another rank on this machine, and what it ended with."""

    def __init__(self, request: Path, rank: int) -> None:
        self.rank, self.oom_before = rank, oom_kills()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tasks.runtime.ranks", str(request), str(os.getpid())],
            env={**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        self.said: dict[str, Any] | None = None
        """The event that it failed with, if it could send one."""

    def listen(self) -> None:
        """Read until it ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said = json.loads(line)
        self.process.wait()

    @property
    def error(self) -> Exception | None:
        """Why it ended before its time; None if it runs, has finished, was asked to stop or only lost another."""
        code = self.process.poll()
        if not code or (self.said is not None and self.said["kind"] in (STOPPED, errors.TransientError.__name__)):
            return None
        if self.said is None:
            return silent_death(
                f"rank {self.rank}", code, self.oom_before, "the stage's", "The stage's log has its output"
            )
        kind = error_named(self.said["kind"]) or RuntimeError
        return kind(f"on rank {self.rank}: {self.said['message']}")


class Followers:
    """All other ranks on this machine."""

    def __init__(self, request: Path, size: int, lost: Callable[[Exception], None]) -> None:
        self.lost = lost
        self.over = threading.Event()
        self.followers = [Follower(request, rank) for rank in range(1, size)]
        self.threads = [threading.Thread(target=self._watch, args=(f,), daemon=True) for f in self.followers]
        for thread in self.threads:
            thread.start()

    def cause(self) -> Exception | None:
        """Why a rank ended before its time, if one did; waits for those that are about to end."""
        for thread in self.threads:
            thread.join(PATIENCE_SECONDS / 2)
        return next((follower.error for follower in self.followers if follower.error is not None), None)

    def end(self, *, patience: float) -> None:
        """Wait for all, then end those that are left."""
        self.over.set()
        for thread, follower in zip(self.threads, self.followers, strict=True):
            thread.join(patience)
            with contextlib.suppress(ProcessLookupError):
                follower.process.kill()
            follower.process.wait()

    def _watch(self, follower: Follower) -> None:
        follower.listen()
        if follower.error is not None and not self.over.wait(PATIENCE_SECONDS):
            self.lost(follower.error)


@contextmanager
def first_of(size: int, request: Path, lost: Callable[[Exception], None]) -> Iterator[None]:
    """Be the first of `size` ranks on this machine for the length of the block; `lost` must end this process.

    Raises:
        LtxError: another rank failed, as the class that it failed with there.
        RuntimeError: another rank died without a word, or of a defect.
    """
    if size == 1:
        yield
        return
    os.environ.update(
        {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": str(size)}
        | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    )
    followers = Followers(request, size, lost)
    patience = 0.0
    try:
        yield
        patience = PATIENCE_SECONDS
    except errors.Stopped:
        patience = PATIENCE_SECONDS
        raise
    except errors.TransientError:
        if (cause := followers.cause()) is not None:
            raise cause from None
        raise
    finally:
        followers.end(patience=patience)


def free_port() -> int:
    """A port that nobody listens on now; who asks takes it within seconds."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


class FollowerProgress(Silent):
    """Progress of which the first rank tells; asked to stop as its reporter is."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter

    @property
    def stopping(self) -> bool:  # type: ignore[override]  # Silent never stops; this one asks
        """True if this process was asked to stop; the ranks stop together."""
        return self.reporter.stopping

    def note(self, message: str) -> None:
        """Keep it in the log: it may differ from what the first rank says."""
        sys.stderr.write(f"rank {os.environ['RANK']}: {message}\n")


def follow(request: Path, reporter: Reporter) -> None:
    """Run the body of the requested stage.

    Raises:
        LtxError: what the stage found wrong.
    """
    run = read_request(request, FollowerProgress(reporter))
    run.stage.run(run)


def main() -> None:
    """Entry point of the process, which has nothing to finish when the first rank ends."""
    serve(follow, signal.SIGKILL)


if __name__ == "__main__":
    main()
