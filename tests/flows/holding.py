"""A training that waits at a step until the test lets it go on: few steps suffice, and no test races with one."""

import os
from pathlib import Path

HOOK = """
import sys
if "tasks.runtime.fork_server" in sys.orig_argv:
    import os, time
    from tasks.runtime.messages import Reporter
    holds, told = {holds!r}, Reporter.advance
    def advance(self, done, total, unit):
        told(self, done, total, unit)
        if unit == "steps":
            place = holds.get(done - self.__dict__.setdefault("first", done))
            while place and os.path.exists(place) and not self.stopping:
                time.sleep(0.02)
    Reporter.advance = advance
"""
FEW = 3
"""Steps that it takes before it waits: of them one is kept as a checkpoint, and at least one is not."""


def holding(folder: Path, *after: int) -> dict[str, str]:
    """The environment of a run whose training waits so many steps after the one that it begins with, while `hold-N`,
    which is made, is in `folder`, and goes on at once if it is asked to stop."""
    places = {number: str(folder / f"hold-{number}") for number in after}
    hook = folder / "hook"
    hook.mkdir(parents=True)
    (hook / "sitecustomize.py").write_text(HOOK.format(holds=places))
    for place in places.values():
        Path(place).touch()
    return {"PYTHONPATH": os.pathsep.join([str(hook), str(Path(__file__).parents[2])])}


def release(folder: Path, after: int) -> None:
    """Let it go on."""
    (folder / f"hold-{after}").unlink()
