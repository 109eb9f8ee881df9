"""Contact sheets: clips or renders as one PNG, with captions and labels that a font can show."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from ltx_core.errors import ShapeError
from ltx_core.report.contact_sheet import (
    BACKGROUND,
    CARD,
    FAINT,
    GAP,
    MARGIN,
    MAX_THUMBNAIL_HEIGHT,
    TEXT,
    WIDTH,
    SheetRow,
    contact_sheet,
    legible,
    wrap,
)

RED, BLUE = (255, 0, 0), (0, 0, 255)


def image(colour: tuple[int, int, int], height: int = 40, width: int = 80) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def drawn(path: Path, rows: list[SheetRow], title: str = "") -> np.ndarray:
    contact_sheet(path, rows, title)
    with Image.open(path) as sheet:
        return np.asarray(sheet.convert("RGB"))


def count(sheet: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((sheet == colour).all(axis=2).sum())


def test_images_keep_their_shape_and_fill_a_row_up_to_a_height(tmp_path: Path) -> None:
    tall = MAX_THUMBNAIL_HEIGHT
    rows = [
        SheetRow("a robot", [image(RED), image(BLUE)], ["base", "candidate"]),
        SheetRow("", [image(BLUE, 80, 40)]),
        SheetRow("five", [image(RED, 90, 160)] * 9),
    ]
    sheet = drawn(tmp_path / "deep" / "sheet.png", rows, "Renders")
    assert sheet.shape[1] == WIDTH
    slot = (WIDTH - 2 * MARGIN - 4 * GAP - 8 * GAP) // 9
    assert count(sheet, RED) == tall * 2 * tall + 9 * slot * int(90 * slot / 160)
    assert count(sheet, BLUE) == tall * 2 * tall + tall * tall // 2
    assert (sheet[:, :MARGIN] == BACKGROUND).all()


def test_labels_stand_above_their_images(tmp_path: Path) -> None:
    plain = drawn(tmp_path / "a.png", [SheetRow("caption", [image(RED), image(BLUE)])])
    labelled = drawn(tmp_path / "b.png", [SheetRow("caption", [image(RED), image(BLUE)], ["base", "LoRA " * 90])])
    assert (count(plain, FAINT), count(plain, TEXT) > 0) == (0, True)
    columns = np.nonzero((labelled == FAINT).all(axis=2))[1]
    left_of_blue = np.nonzero((labelled == BLUE).all(axis=2))[1].min()
    assert columns.min() < left_of_blue
    right_of_blue = np.nonzero((labelled == BLUE).all(axis=2))[1].max()
    assert left_of_blue < columns.max() <= right_of_blue, "a label is no wider than its image"


def test_long_captions_wrap_and_end(tmp_path: Path) -> None:
    sheet = drawn(tmp_path / "a.png", [SheetRow("word " * 900 + "x" * 500, [image(RED)])])
    assert (sheet[:, WIDTH - MARGIN :] == BACKGROUND).all()
    assert sheet.shape[0] < 700
    card = sheet[MARGIN:-MARGIN, MARGIN:-MARGIN]
    assert (card[:, -GAP:] == CARD).all()


def test_letters_that_a_font_lacks_are_spelt_out() -> None:
    font = ImageFont.load_default(size=20)
    assert legible("naïve café — 25 \u72d0", font) == "naive cafe - 25 ?"
    assert legible("new\nline\x1b[1m.mp4", font) == r"new\nline\x1b[1m.mp4"
    assert wrap("one two " + "x" * 400, 300, font)[0] == "one two"
    assert all(font.getlength(line) <= 300 for line in wrap("one two " + "x" * 400, 300, font))


@pytest.mark.parametrize("rows", [[], [SheetRow("a", [])], [SheetRow("a", [image(RED)]), SheetRow("b", [])]])
def test_nothing_to_draw(tmp_path: Path, rows: list[SheetRow]) -> None:
    with pytest.raises(ShapeError, match="nothing in some row"):
        contact_sheet(tmp_path / "sheet.png", rows)
    assert not list(tmp_path.iterdir())


def test_same_input_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        contact_sheet(tmp_path / name, [SheetRow("p", [image((1, 2, 3))], ["base"])], "t")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
