"""Rows of thumbnails with their captions, in one picture that is read at a glance."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ltx_core.files.atomic import atomic_path
from ltx_core.files.regular import one_line

WIDTH = 1600
MARGIN = 32
GAP = 8
ROW_GAP = 36
MAX_THUMBNAIL_HEIGHT = 240
FONT_SIZE = 20
LINE_HEIGHT = 28
MAX_CAPTION_LINES = 4
BACKGROUND = (24, 25, 27)
CARD = (34, 36, 39)
TEXT = (226, 227, 229)

SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "arial.ttf")
MISSING = "\U0010fffd"
"""A letter that no font has; it shows the box that stands for letters a font lacks."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Pixels = npt.NDArray[np.uint8]


def contact_sheet(rows: Sequence[tuple[str, Pixels]], path: Path) -> None:
    """Write a PNG with a row for each caption and its pictures, uint8 [n, H, W, 3], n at least 1.

    Pictures keep their shape; a row is as high as its pictures need to fill the width, up to a limit. Captions wrap,
    and end in an ellipsis after `MAX_CAPTION_LINES` lines.

    Raises:
        ValueError: there are no rows, or a row has no pictures.
        StorageError: the disk is full or cannot be written.
    """
    if not rows or any(len(pictures) == 0 for _, pictures in rows):
        raise ValueError(f"a contact sheet of {len(rows)} rows has nothing in some row; give each row a picture")
    font = _font()
    drawn = [_row(caption, pictures, font) for caption, pictures in rows]
    height = 2 * MARGIN + sum(row.height for row in drawn) + ROW_GAP * (len(drawn) - 1)
    sheet = Image.new("RGB", (WIDTH, height), BACKGROUND)
    top = MARGIN
    for row in drawn:
        sheet.paste(row, (MARGIN, top))
        top += row.height + ROW_GAP
    with atomic_path(path) as partial:
        sheet.save(partial, format="PNG")


def _font() -> Font:
    """A font of the system that has most alphabets, or Pillow's own, which has ASCII and little more."""
    for name in SYSTEM_FONTS:
        try:
            return ImageFont.truetype(name, FONT_SIZE)
        except OSError:
            continue
    return ImageFont.load_default(size=FONT_SIZE)


def legible(text: str, font: Font) -> str:
    """`text` with letters that the font lacks replaced by ones it has: plain letters for accented, `-` for dashes."""
    missing = font.getmask(MISSING).getbbox(), bytes(font.getmask(MISSING))
    letters = []
    for letter in one_line(text):
        mask = font.getmask(letter)
        if letter.isascii() or (mask.getbbox(), bytes(mask)) != missing:
            letters.append(letter)
        elif unicodedata.category(letter) == "Pd":
            letters.append("-")
        else:
            letters.append(unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode() or "?")
    return "".join(letters)


def _row(caption: str, pictures: Pixels, font: Font) -> Image.Image:
    """Caption above pictures, on a card as wide as the sheet allows."""
    inner = WIDTH - 2 * MARGIN
    padding = 2 * GAP
    lines = wrap(legible(caption, font), inner - 2 * padding, font)
    width, height = _thumbnail_size(pictures, inner - 2 * padding)
    card = Image.new("RGB", (inner, 2 * padding + LINE_HEIGHT * len(lines) + GAP * bool(lines) + height), CARD)
    draw = ImageDraw.Draw(card)
    for n, line in enumerate(lines):
        draw.text((padding, padding + n * LINE_HEIGHT), line, font=font, fill=TEXT)
    for n, pixels in enumerate(pictures):
        thumbnail = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
        card.paste(thumbnail, (padding + n * (width + GAP), card.height - padding - height))
    return card


def _thumbnail_size(pictures: Pixels, width: int) -> tuple[int, int]:
    """Size of each picture so that all stand side by side, none higher than `MAX_THUMBNAIL_HEIGHT`."""
    count, height_in, width_in = pictures.shape[:3]
    share = max((width - GAP * (count - 1)) // count, 1)
    scale = min(share / width_in, MAX_THUMBNAIL_HEIGHT / height_in)
    return max(int(width_in * scale), 1), max(int(height_in * scale), 1)


def wrap(text: str, width: int, font: Font) -> list[str]:
    """Lines of at most `width` pixels; words longer than a line are broken; what does not fit ends in an ellipsis."""
    lines = [""]
    for word in text.split():
        for part in _parts(word, width, font):
            joined = f"{lines[-1]} {part}".strip()
            if font.getlength(joined) <= width:
                lines[-1] = joined
            else:
                lines.append(part)
    if len(lines) <= MAX_CAPTION_LINES:
        return [line for line in lines if line]
    last = lines[MAX_CAPTION_LINES - 1]
    while last and font.getlength(last + " ...") > width:
        last = last[:-1]
    return [*lines[: MAX_CAPTION_LINES - 1], last.rstrip() + " ..."]


def _parts(word: str, width: int, font: Font) -> list[str]:
    """A word in pieces that each fit a line; most words are one piece."""
    pieces = [""]
    for letter in word:
        if font.getlength(pieces[-1] + letter) > width and pieces[-1]:
            pieces.append("")
        pieces[-1] += letter
    return pieces
