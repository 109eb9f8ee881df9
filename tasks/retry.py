"""Try again what may pass by itself: the network, a file system that hiccups, another process that holds something."""

import time
from collections.abc import Callable
from typing import TypeVar

from ltx_core.errors import TransientError

RETRY_DELAYS_SECONDS = (5.0, 30.0)
"""Before the second and the third attempt; there is no fourth."""
T = TypeVar("T")


def with_retries(
    attempt: Callable[[], T], say: Callable[[str], None], sleep: Callable[[float], None] = time.sleep
) -> T:
    """What `attempt` gives, tried again after each `TransientError`; `say` is told why and when.

    Raises:
        LtxError: any other error at once, and a `TransientError` of the last attempt.
    """
    for seconds in RETRY_DELAYS_SECONDS:
        try:
            return attempt()
        except TransientError as error:
            say(f"{error}; trying again in {seconds:g} s")
        sleep(seconds)
    return attempt()
