"""Who holds a lock, as its holder wrote into the lock's file.

The kernel's lock alone says whether it is held. The text explains, to whoever waits: one that a killed process left
means nothing, so only one that waits reads it.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime

from ltx_core.process import ProcessRecord

MAX_BYTES = 4096
"""More is no text of ours. On a machine of several users any of them may have written it."""
UNKNOWN = "a process that left no word"


@dataclass(frozen=True)
class Holder:
    """A process, what it does while it holds the lock, and since when, in seconds since the epoch."""

    process: ProcessRecord
    doing: str
    since: float

    def __str__(self) -> str:
        """Such as `process 1234 (train_lora in /data/workspace) since 14:03:07`."""
        where = "" if self.process.is_here else f" on {self.process.host}"
        began = datetime.fromtimestamp(self.since)
        day = "" if began.date() == datetime.now().date() else f"{began:%Y-%m-%d} "
        return f"process {self.process.pid}{where} ({self.doing}) since {day}{began:%H:%M:%S}"


@contextmanager
def named_holder(handle: int, doing: str) -> Iterator[None]:
    """Say in a lock's file that this process holds it while the block runs.

    Where the file cannot be written, those who wait read of no one: a full disk, or a file of another user, is no
    reason not to work, and `ltx2-lora gc` takes locks to make room.
    """
    text = json.dumps(asdict(Holder(ProcessRecord.own(), doing, time.time()))).encode()
    with suppress(OSError):
        os.pwrite(handle, text, 0)
        os.ftruncate(handle, len(text))
    try:
        yield
    finally:
        with suppress(OSError):
            os.ftruncate(handle, 0)


def read_holder(handle: int) -> Holder | None:
    """What the file says of a lock that is held; None if that is nothing, or of a process that is gone: then the
    holder has not written yet."""
    try:
        values = json.loads(os.pread(handle, MAX_BYTES, 0))
        process = ProcessRecord.of(values["process"])
        doing = "".join(character for character in str(values["doing"]) if character.isprintable())
        holder = Holder(process, doing, float(values["since"]))
    except (ValueError, KeyError, TypeError):
        return None
    return None if process.is_gone() else holder
