"""The base of every error that a user can cause, and what is said of a file that is not as it was written."""

from pathlib import Path


class LtxError(Exception):
    """Base: `except LtxError` catches what this project raises on purpose, and nothing else."""


ADVICE = ". `ltx2-lora verify CONFIG --repair` removes what is damaged, and the next run makes it again."


class DamagedError(LtxError, ValueError):
    """A file that this project wrote is gone, torn or changed since. A cache is made again; a result is named."""

    @property
    def found(self) -> str:
        """The file and what is wrong with it, without what to do."""
        return str(self).removesuffix(ADVICE)


def damaged(path: Path, why: str) -> DamagedError:
    """The error for a file of the workspace that cannot be trusted; `why` is a clause such as "it is empty"."""
    return DamagedError(f"{path} is damaged: {why}{ADVICE}")
