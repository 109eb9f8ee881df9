"""The error of a file or caption that cannot be used, with its reason from the fixed list."""

from pathlib import Path

from datasets_spec.quarantine import QuarantineReason
from ltx_core.errors import DataError

WHOLE_WANTED = "the whole file is wanted. Copy or record it again."


class MediaError(DataError):
    """One media file, or its caption, is not usable; `reason` is what the quarantine row says."""

    def __init__(self, reason: QuarantineReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type["MediaError"], tuple[QuarantineReason, str]]:
        """Both arguments travel when the error crosses a process boundary."""
        return MediaError, (self.reason, str(self))


class EndsEarlyError(MediaError):
    """A file's frames end before the last one that is wanted of it, and nothing says that its end was cut off."""

    def __init__(self, path: Path, end: float, wanted: float) -> None:
        self.span = f"its frames end at {end:.2f} s, and one at {wanted:.2f} s is wanted"
        super().__init__(QuarantineReason.TRUNCATED, f"{path} is cut off: {self.span}; {WHOLE_WANTED}")
