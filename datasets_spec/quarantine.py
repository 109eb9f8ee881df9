"""Items that a stage quarantined, each with a reason from a fixed list."""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from datasets_spec.rows import Record, location


class QuarantineReason(StrEnum):
    """Why an item does not go on. The list is fixed so that counts compare over runs."""

    EMPTY_FILE = "empty_file"
    UNREADABLE = "unreadable"
    CHANGED = "changed"
    NOT_MEDIA = "not_media"
    TRUNCATED = "truncated"
    NO_VIDEO = "no_video"
    DECODE_ERROR = "decode_error"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    TOO_SMALL = "too_small"
    NO_CAPTION = "no_caption"
    BAD_CAPTION = "bad_caption"
    NO_AUDIO = "no_sound"
    BAD_MASK = "bad_mask"
    NO_REFERENCE = "no_reference"
    BAD_REFERENCE = "bad_reference"
    HDR = "hdr"
    INTERLACED = "interlaced"
    TRANSPARENT = "transparent"
    BLACK = "black"
    FROZEN = "frozen"
    DUPLICATE = "duplicate"
    NO_TEXT = "no_text"
    NON_FINITE = "non_finite"

    @property
    def may_pass(self) -> bool:
        """True if it is a fault of the moment and not of the content: it is never kept, the next run looks again."""
        return self in (QuarantineReason.UNREADABLE, QuarantineReason.CHANGED)


class Quarantined(Record):
    """One item quarantined by one stage."""

    KEY: ClassVar[str] = "item"

    item: str = Field(description="Key of the item, or its path relative to the footage folder if it has none yet.")
    source: str = Field(description="The file it comes from, relative to the footage folder.")
    reason: QuarantineReason = Field(description="Why, from the fixed list.")
    detail: str = Field(description="What was found, what was wanted, what to do.")
    path: str = location("Absolute path of the source file.")
