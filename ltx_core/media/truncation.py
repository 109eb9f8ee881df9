"""Whether a file ends before its own container says it does, from the outermost headers alone."""

from pathlib import Path
from typing import BinaryIO

from ltx_core.files.regular import open_regular

ISO_BOXES = frozenset(
    {b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"pnot", b"uuid", b"styp", b"sidx"}
)
"""Outermost boxes of MP4 and QuickTime files (ISO/IEC 14496-12, 4.2 and table 1)."""
EBML_HEADER, EBML_SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
"""Identifiers of the first element of a Matroska or WebM file, and of the one that holds all else (RFC 9559)."""
MAGICS = (b"RIFF", EBML_HEADER, b"FLV\x01", b"OggS", b"\x30\x26\xb2\x75", b"\x00\x00\x01\xba")
"""First bytes of AVI, Matroska and WebM, Flash, Ogg, ASF (wmv), MPEG program streams."""


def looks_like_video(path: Path) -> bool:
    """Whether the first bytes are those of a video container; if it then cannot be opened, it is damaged."""
    with open_regular(path) as file:
        head = file.read(8)
    return head.startswith(MAGICS) or head[4:8] in ISO_BOXES


def missing_end(path: Path) -> str | None:
    """What is missing at the end of an MP4, QuickTime, AVI or Matroska file, in words; None if nothing seems to be.

    Other containers state no length here; `probe` compares their stated duration with what they hold.
    """
    size = path.stat().st_size
    with open_regular(path) as file:
        head = file.read(8)
        if head[:4] == b"RIFF":
            stated = int.from_bytes(head[4:8], "little") + 8
            # Recorders that never came back to fill in the size leave 0 or all ones; the data may still be whole.
            return _short(stated, size) if 8 < stated < 2**32 else None
        if head[4:8] in ISO_BOXES:
            return _missing_boxes(file, size)
        if head[:4] == EBML_HEADER:
            return _missing_segment(file, size)
    return None


def _missing_segment(file: BinaryIO, size: int) -> str | None:
    """Pass over what comes before the segment, which holds all else, and see that the segment lies inside the file."""
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(12)
        id_length = _ebml_length(head)
        length, num_bytes = _ebml_size(head[id_length:])
        if not id_length or length is None:
            return None  # live recordings state no length
        position += id_length + num_bytes + length
        if head[:id_length] == EBML_SEGMENT:
            return _short(position, size)
    return None


def _ebml_length(head: bytes) -> int:
    """Bytes of a number of variable length, which its first byte tells: 1 to 8; 0 if that is no such byte."""
    return 9 - head[0].bit_length() if head and head[0] else 0


def _ebml_size(head: bytes) -> tuple[int | None, int]:
    """Length of an element and how many bytes say so (RFC 8794, 4); None if it is unknown."""
    num_bytes = _ebml_length(head)
    if not num_bytes or len(head) < num_bytes:
        return None, 0
    mask = (1 << 7 * num_bytes) - 1
    length = int.from_bytes(head[:num_bytes], "big") & mask
    return (None if length == mask else length), num_bytes


def num_indexes(path: Path) -> int:
    """How many films an MP4 or QuickTime file holds one after another: its `moov` boxes that are no repetition for
    fragments; 0 of other files."""
    size, position, kinds = path.stat().st_size, 0, []
    with open_regular(path) as file:
        while position + 8 <= size:
            file.seek(position)
            head = file.read(16)
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if kind not in ISO_BOXES:
                break
            kinds.append(kind)
            length = int.from_bytes(head[8:16], "big") if length == 1 else length or size
            position += max(length, 8)
    return 1 if b"moof" in kinds else kinds.count(b"moov")


def _missing_boxes(file: BinaryIO, size: int) -> str | None:
    """Walk the outermost boxes: each must lie inside the file, and one must be the index, `moov`."""
    position, has_index = 0, False
    while position + 8 <= size:
        file.seek(position)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if kind not in ISO_BOXES:
            break  # trailing bytes of some other kind are harmless
        has_index = has_index or kind == b"moov"
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0:  # the last box, up to the end of the file
            break
        if length < 8:
            return f"box {kind.decode()} at byte {position} has no valid length"
        position += length
    if position > size:
        return _short(position, size)
    return None if has_index or position + 8 <= size else "there is no index (moov box), which is written last"


def _short(stated: int, size: int) -> str | None:
    return f"its headers speak of {stated} bytes, the file has {size}" if stated > size + 1 else None
