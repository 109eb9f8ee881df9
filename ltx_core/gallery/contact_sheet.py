"""Renders as one picture: the middle frame of each, in a grid with labels, for those who only see pictures."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.ImageFont import FreeTypeFont

from ltx_core.errors import ConfigError, ShapeError
from ltx_core.files.atomic import write_bytes

CELL_WIDTH = 360
MARGIN, GAP = 24, 14
LABEL_SIZE, PROMPT_SIZE = 15, 17
PAGE, INK, SOFT = (246, 246, 244), (29, 29, 27), (106, 106, 102)


@dataclass(frozen=True)
class SheetRow:
    """One prompt: its text over a line of labelled frames."""

    prompt: str
    frames: Sequence[tuple[str, np.ndarray]]
    """Label, such as the variant, and its frame uint8 [H, W, 3]."""


def middle_frame(frames: np.ndarray) -> np.ndarray:
    """The frame uint8 [H, W, 3] in the middle of [F, H, W, 3]."""
    return frames[len(frames) // 2]


def render_sheet(path: Path, title: str, rows: Sequence[SheetRow]) -> None:
    """Write the grid as a PNG, whole or not at all.

    Raises:
        ShapeError: there is nothing to draw.
        ConfigError: Pillow cannot draw text.
        StorageError: the disk is full or read-only.
    """
    columns = max((len(row.frames) for row in rows), default=0)
    if not columns:
        raise ShapeError("a contact sheet of no renders; give at least one row with a frame")
    width = 2 * MARGIN + columns * CELL_WIDTH + (columns - 1) * GAP
    drawn = [_draw_title(title, width), *(_draw_row(row, width) for row in rows)]
    sheet = Image.new("RGB", (width, sum(part.height for part in drawn) + MARGIN), PAGE)
    top = 0
    for part in drawn:
        sheet.paste(part, (0, top))
        top += part.height
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=True)
    write_bytes(path, out.getvalue())


def _draw_title(title: str, width: int) -> Image.Image:
    font = _font(size=24)
    text = "\n".join(_wrapped(title, font, width - 2 * MARGIN))
    return _text_block(text, font, width, INK, MARGIN)


def _draw_row(row: SheetRow, width: int) -> Image.Image:
    font = _font(size=PROMPT_SIZE)
    head = _text_block("\n".join(_wrapped(row.prompt, font, width - 2 * MARGIN)), font, width, INK, 22)
    images = [_scaled(frame) for _, frame in row.frames]
    height = max((image.height for image in images), default=0)
    label_top = head.height + 6
    image_top = label_top + LABEL_SIZE + 8
    block = Image.new("RGB", (width, image_top + height + 4), PAGE)
    block.paste(head, (0, 0))
    canvas = ImageDraw.Draw(block)
    for column, ((label, _), image) in enumerate(zip(row.frames, images, strict=True)):
        left = MARGIN + column * (CELL_WIDTH + GAP)
        label_font = _font(size=LABEL_SIZE)
        canvas.text((left, label_top), _wrapped(label, label_font, CELL_WIDTH)[0], SOFT, label_font)
        block.paste(image, (left, image_top))
    return block


def _text_block(text: str, font: FreeTypeFont, width: int, colour: tuple[int, int, int], top: int) -> Image.Image:
    lines = text.split("\n")
    line_height = round(font.size * 1.35)
    block = Image.new("RGB", (width, top + line_height * len(lines)), PAGE)
    canvas = ImageDraw.Draw(block)
    for number, line in enumerate(lines):
        canvas.text((MARGIN, top + number * line_height), line, colour, font)
    return block


def _font(size: int) -> FreeTypeFont:
    """DejaVu Sans where the system has it, because prompts are in any language; else Pillow's own, which is Latin."""
    try:
        return ImageFont.truetype("DejaVuSans.ttf", size)
    except OSError:
        font = ImageFont.load_default(size=size)
    if not isinstance(font, FreeTypeFont):
        raise ConfigError("this Pillow was built without FreeType; install the wheel from PyPI")
    return font


def _wrapped(text: str, font: FreeTypeFont, width: int) -> list[str]:
    """Lines that fit `width` pixels, at least one; a word wider than that has a line of its own."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _scaled(frame: np.ndarray) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(frame))
    return image.resize((CELL_WIDTH, max(round(image.height * CELL_WIDTH / image.width), 1)), Image.Resampling.LANCZOS)
