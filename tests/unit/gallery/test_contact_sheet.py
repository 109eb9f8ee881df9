"""The PNG of middle frames."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltx_core.errors import ShapeError
from ltx_core.gallery.contact_sheet import CELL_WIDTH, GAP, MARGIN, SheetRow, middle_frame, render_sheet


def frame(colour: tuple[int, int, int], height: int = 40, width: int = 80) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def test_frames_in_a_grid(tmp_path: Path) -> None:
    red, blue = (255, 0, 0), (0, 0, 255)
    rows = [
        SheetRow("a robot " * 30, [("base", frame(red)), ("candidate", frame(blue))]),
        SheetRow("año", [("base", frame(blue, 80, 40))]),
    ]
    render_sheet(tmp_path / "sheet.png", "Renders", rows)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape[1] == 2 * MARGIN + 2 * CELL_WIDTH + GAP
    wide, tall = CELL_WIDTH * CELL_WIDTH // 2, CELL_WIDTH * CELL_WIDTH * 2
    assert (sheet == red).all(axis=2).sum() == wide
    assert (sheet == blue).all(axis=2).sum() == wide + tall
    assert (sheet[:, : MARGIN - 2] == sheet[0, 0]).all()


def test_middle_frame() -> None:
    frames = np.arange(5, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    assert middle_frame(frames).max() == 2


def test_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="no renders"):
        render_sheet(tmp_path / "sheet.png", "Renders", [SheetRow("a", [])])


def test_same_input_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        render_sheet(tmp_path / name, "t", [SheetRow("p", [("base", frame((1, 2, 3)))])])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
