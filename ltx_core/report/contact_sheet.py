"""Rows of thumbnails with their captions, in one image that is read at a glance: clips of footage, or renders."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ltx_core.errors import ShapeError
from ltx_core.io.atomic import atomic_path
from ltx_core.io.regular import one_line

WIDTH = 1600
MARGIN = 32
GAP = 8
ROW_GAP = 36
MAX_THUMBNAIL_HEIGHT = 240
FONT_SIZE = 20
LINE_HEIGHT = 28
MAX_CAPTION_LINES = 8
BACKGROUND = (24, 25, 27)
CARD = (34, 36, 39)
TEXT = (226, 227, 229)
FAINT = (160, 162, 166)

SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "arial.ttf")
MISSING = "\U0010fffd"
"""A letter that no font has; it shows the box that stands for letters a font lacks."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class SheetRow:
    """A caption above images that stand side by side."""

    caption: str
    images: Sequence[Pixels]
    """uint8 [H, W, 3] each, at least one."""
    labels: Sequence[str] = ()
    """One above each image, such as the variant that it shows; or none at all."""


def contact_sheet(path: Path, rows: Sequence[SheetRow], title: str = "") -> None:
    """Write a PNG with the title and a card for each row.

    Images keep their shape and are as large as the width allows, up to `MAX_THUMBNAIL_HEIGHT`. Captions wrap, and end
    in an ellipsis after `MAX_CAPTION_LINES` lines. The same rows give the same bytes.

    Raises:
        ShapeError: there are no rows, or a row has no images.
        StorageError: the disk is full or cannot be written.
    """
    if not rows or not all(len(row.images) for row in rows):
        raise ShapeError(f"a contact sheet of {len(rows)} rows has nothing in some row; give each row an image")
    font = _font()
    parts = [_text(title, font)] if title else []
    parts += [_card(row, font) for row in rows]
    height = 2 * MARGIN + sum(part.height for part in parts) + ROW_GAP * (len(parts) - 1)
    sheet = Image.new("RGB", (WIDTH, height), BACKGROUND)
    top = MARGIN
    for part in parts:
        sheet.paste(part, (MARGIN, top))
        top += part.height + ROW_GAP
    with atomic_path(path) as partial:
        sheet.save(partial, format="PNG", compress_level=3)  # 6 takes twice as long for a seventh less


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


def _text(text: str, font: Font) -> Image.Image:
    """Text on the sheet's ground, as wide as the sheet allows."""
    lines = wrap(legible(text, font), WIDTH - 2 * MARGIN, font)
    block = Image.new("RGB", (WIDTH - 2 * MARGIN, LINE_HEIGHT * max(len(lines), 1)), BACKGROUND)
    _write(block, lines, font, left=0, top=0)
    return block


def _write(block: Image.Image, lines: Sequence[str], font: Font, *, left: int, top: int) -> None:
    draw = ImageDraw.Draw(block)
    for number, line in enumerate(lines):
        draw.text((left, top + number * LINE_HEIGHT), line, font=font, fill=TEXT)


def _card(row: SheetRow, font: Font) -> Image.Image:
    """Caption, then labels, then images, on a card as wide as the sheet allows."""
    padding, width = 2 * GAP, WIDTH - 2 * MARGIN
    lines = wrap(legible(row.caption, font), width - 2 * padding, font)
    slot = (width - 2 * padding - GAP * (len(row.images) - 1)) // len(row.images)
    thumbnails = [_thumbnail(image, slot) for image in row.images]
    column = max(image.width for image in thumbnails) + GAP
    labels_top = padding + LINE_HEIGHT * len(lines)
    images_top = labels_top + (LINE_HEIGHT if row.labels else 0) + GAP * bool(lines or row.labels)
    card = Image.new("RGB", (width, images_top + max(image.height for image in thumbnails) + padding), CARD)
    _write(card, lines, font, left=padding, top=padding)
    draw = ImageDraw.Draw(card)
    for n, label in enumerate(row.labels):
        shown = next(iter(wrap(legible(label, font), column - GAP, font)), "")
        draw.text((padding + n * column, labels_top), shown, font=font, fill=FAINT)
    for n, image in enumerate(thumbnails):
        card.paste(image, (padding + n * column, images_top))
    return card


def _thumbnail(pixels: Pixels, width: int) -> Image.Image:
    """The image, as large as fits `width` and `MAX_THUMBNAIL_HEIGHT`."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    scale = min(max(width, 1) / image.width, MAX_THUMBNAIL_HEIGHT / image.height)
    size = max(int(image.width * scale), 1), max(int(image.height * scale), 1)
    return image.resize(size, Image.Resampling.LANCZOS)


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
