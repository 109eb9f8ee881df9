"""`ltx2-lora down`: end what `ltx2-lora up` started, from another terminal."""

import os
import signal
import time
from argparse import Namespace

from rich.console import Console

from flows.services import end_leftovers, forget_up, up_record
from ltx_core.errors import ConfigError

WAIT_SECONDS = 60.0


def run(_args: Namespace) -> int:
    """End `up`, or what an `up` that was killed has left."""
    found, console = up_record(), Console(highlight=False)
    if found is None or not found.process.is_alive():
        left = end_leftovers()
        forget_up()
        console.print(
            f"ended what an `up` that was killed had left: {', '.join(left)}"
            if left
            else "nothing to end: `ltx2-lora up` is not running"
        )
        return 0
    record = found.process
    os.kill(record.pid, signal.SIGTERM)
    deadline = time.monotonic() + WAIT_SECONDS
    while record.is_alive():
        if time.monotonic() > deadline:
            raise ConfigError(
                f"`ltx2-lora up` (process {record.pid}) did not end within {WAIT_SECONDS:g} s; see its logs"
            )
        time.sleep(0.2)
    console.print("ended")
    return 0
