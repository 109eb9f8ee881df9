"""Every error a user can cause. A message says what was found, what was wanted, what to do.

Each class is a standard class too, so that callers may catch either. All are picklable with one message, because they
cross process boundaries. Only `TransientError` is retried.
"""

from datasets_spec.errors import DamagedError, LtxError

__all__ = [
    "ChangedError",
    "CheckpointError",
    "ConfigError",
    "DamagedError",
    "DataError",
    "LtxError",
    "OutOfMemory",
    "ShapeError",
    "Stopped",
    "StorageError",
    "TransientError",
]


class ConfigError(LtxError, ValueError):
    """The configuration cannot work; no retry will help. Names the field and the value."""


class DataError(LtxError, ValueError):
    """A file, caption or row is not usable; names it."""


class ShapeError(LtxError, ValueError):
    """A tensor is not the shape its contract names."""


class CheckpointError(LtxError, RuntimeError):
    """Weights or a training state are missing, torn, or of another configuration. Never falls back."""


class ChangedError(LtxError, RuntimeError):
    """A file became another while a stage read it; nothing was kept of it, and running again reads it anew."""


class OutOfMemory(LtxError, RuntimeError):
    """A device or the host ran out of memory; says the peak and what to change."""


class StorageError(LtxError, RuntimeError):
    """The disk is full or cannot be written; says where, and how much is missing."""


class Stopped(LtxError, RuntimeError):
    """Asked to stop (cancelled, ctrl-C, parent gone); what was finished is committed."""


class TransientError(LtxError, RuntimeError):
    """Worth a retry: network, a file system that hiccups, another process that holds a resource."""
