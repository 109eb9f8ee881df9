"""The error of a file or caption that cannot be used, with its reason from the fixed list."""

from datasets_spec.quarantine import QuarantineReason
from ltx_core.errors import DataError


class MediaError(DataError):
    """One media file, or its caption, is not usable; `reason` is what the quarantine row says."""

    def __init__(self, reason: QuarantineReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type["MediaError"], tuple[QuarantineReason, str]]:
        """Both arguments travel when the error crosses a process boundary."""
        return MediaError, (self.reason, str(self))
