"""Read large files by several threads: copies out of the page cache are bound by one core, and a disk is fast only if
it is asked for much at once."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

READERS = 8
"""Threads that share a read. On 16 cores a checkpoint in the page cache came at 4 GB/s by one."""
LEAST_BYTES = 2**20
"""A thread is given no less."""


def fill(buffer: memoryview, file: BinaryIO, begin: int) -> int:
    """Read what the file has from `begin` on into the buffer, and say how many bytes: fewer where the file ends. The
    file's position stays as it is, so that threads may share it."""
    done = 0
    while done < len(buffer) and (read := os.preadv(file.fileno(), [buffer[done:]], begin + done)):
        done += read
    return done


def fill_together(buffer: memoryview, file: BinaryIO, begin: int, threads: ThreadPoolExecutor) -> int:
    """The same by threads, each a part of the buffer."""
    step = max(LEAST_BYTES, -(-len(buffer) // READERS))
    if step >= len(buffer):
        return fill(buffer, file, begin)
    parts = [threads.submit(fill, buffer[at : at + step], file, begin + at) for at in range(0, len(buffer), step)]
    return sum(part.result() for part in parts)
