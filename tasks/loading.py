"""Loading large libraries: the collector of cycles rests meanwhile, which takes a tenth off a stage's start."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Import torch, diffusers, transformers inside.

    They make a million objects that stay. Python's collector, which runs after every 700 new ones, goes through them
    again and again and finds nothing. It is as it was afterwards, whatever an import raised.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
