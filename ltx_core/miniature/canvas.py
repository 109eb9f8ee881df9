"""Soft-edged shapes on small float pictures; what the scenes are painted with.

A picture is float32 [H, W, 3], RGB in [0, 1]. Lengths are in picture heights: y runs from 0 at the top to 1 at the
bottom, x from 0 to the aspect ratio, so that a scene fits every frame size.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]
Mask = NDArray[np.float32]
"""[H, W], 0 outside a shape, 1 inside."""
Color = tuple[float, float, float]


@dataclass(frozen=True)
class View:
    """Where every pixel of a frame lies."""

    x: Mask
    y: Mask
    aspect: float
    pixel: float
    """Height of a pixel: the width of a soft edge."""


@lru_cache(maxsize=32)
def view_of(width: int, height: int) -> View:
    """The coordinates of every pixel centre of a frame."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    return View((columns + 0.5) / height, (rows + 0.5) / height, width / height, 1 / height)


def gradient(view: View, top: Color, bottom: Color) -> Picture:
    """A picture that changes from one colour at the top to another at the bottom."""
    share = view.y[:, :1, None]
    column = np.asarray((1 - share) * np.array(top) + share * np.array(bottom), dtype=np.float32)
    return np.broadcast_to(column, (*view.y.shape, 3))


def soft(view: View, distance: Mask) -> Mask:
    """Inside where `distance` to the edge is negative, with an edge one pixel wide."""
    return np.clip(0.5 - distance / view.pixel, 0, 1).astype(np.float32)


def disc(view: View, x: float, y: float, radius: float) -> Mask:
    """A filled circle."""
    return soft(view, np.hypot(view.x - x, view.y - y) - radius)


def ring(view: View, x: float, y: float, radius: float, thickness: float) -> Mask:
    """A circle line."""
    return soft(view, np.abs(np.hypot(view.x - x, view.y - y) - radius) - thickness / 2)


def bar(view: View, x: float, y: float, size: tuple[float, float], angle: float = 0.0) -> Mask:
    """A rectangle of `size` (length, thickness) around (x, y), turned clockwise by `angle` radians."""
    along = (view.x - x) * np.cos(angle) + (view.y - y) * np.sin(angle)
    across = (view.y - y) * np.cos(angle) - (view.x - x) * np.sin(angle)
    return soft(view, np.maximum(np.abs(along) - size[0] / 2, np.abs(across) - size[1] / 2))


def below(view: View, line: Mask | float) -> Mask:
    """Everything under `line`, a height for every pixel or one for all."""
    return soft(view, line - view.y)


def paint(picture: Picture, mask: Mask, color: Color, opacity: float = 1.0) -> Picture:
    """Lay a colour over `picture` where `mask` says; a new picture."""
    painted = picture.copy()
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if len(rows):  # most shapes are small: the rest of the picture stays as it is
        part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        painted[part] += (mask[part] * opacity)[..., None] * (np.array(color, dtype=np.float32) - painted[part])
    return painted
