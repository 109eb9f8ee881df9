"""Frames of the miniature footage: small moving scenes, drawn frame by frame from the time alone.

A frame is float32 [H, W, 3], RGB in [0, 1]. Lengths are in frame heights: y runs from 0 at the top to 1 at the
bottom, x from 0 to the aspect ratio, so that a scene fits every frame size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ltx_core.tiny import sounds as events

Frame = NDArray[np.float32]
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


def gradient(view: View, top: Color, bottom: Color) -> Frame:
    """A frame that changes from one colour at the top to another at the bottom."""
    height = view.y[:, :1, None]
    column = np.asarray((1 - height) * np.array(top) + height * np.array(bottom), dtype=np.float32)
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


def paint(frame: Frame, mask: Mask, color: Color, opacity: float = 1.0) -> Frame:
    """Lay a colour over `frame` where `mask` says; a new frame."""
    painted = frame.copy()
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if len(rows):  # most shapes are small: the rest of the frame stays as it is
        part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        painted[part] += (mask[part] * opacity)[..., None] * (np.array(color, dtype=np.float32) - painted[part])
    return painted


GRAIN = 0.02
"""Height of the fixed noise laid over every frame, so that flat areas have texture as those of cameras have."""


@dataclass(frozen=True)
class Moment:
    """One instant of a scene that lasts `seconds`."""

    view: View
    time: float
    seconds: float

    @property
    def progress(self) -> float:
        """The part of the scene that has passed, 0 to 1."""
        return self.time / self.seconds


Scene = Callable[[Moment], Frame]


def draw(scene: str, time: float, seconds: float, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The frame of `scene` at `time`, `size` (width, height) in pixels: uint8 [H, W, 3], RGB."""
    width, height = size
    frame = SCENES[scene](Moment(view_of(width, height), time, seconds))
    return np.clip((frame + grain_of(width, height)) * 255 + 0.5, 0, 255).astype(np.uint8)


@lru_cache(maxsize=32)
def grain_of(width: int, height: int) -> Frame:
    """The noise laid over every frame of a size, [H, W, 1]."""
    noise = np.random.default_rng(width * 10_000 + height).uniform(-GRAIN, GRAIN, (height, width, 1))
    return np.asarray(noise, dtype=np.float32)


def rolling_ball(now: Moment) -> Frame:
    """A red ball rolls from the left edge to the right over a dark floor with two joints."""
    view = now.view
    frame = paint(gradient(view, (0.16, 0.17, 0.22), (0.1, 0.1, 0.13)), below(view, 0.78), (0.07, 0.05, 0.05))
    for third in (1, 2):
        frame = paint(frame, bar(view, view.aspect * third / 3, 0.9, (0.015, 0.24)), (0.25, 0.2, 0.18))
    radius = 0.16
    x = -radius + (view.aspect + 2 * radius) * now.progress
    frame = paint(frame, disc(view, x, 0.78 - radius, radius), (0.85, 0.12, 0.1))
    angle = x / radius
    return paint(frame, bar(view, x, 0.78 - radius, (radius * 1.7, 0.04), angle), (0.98, 0.85, 0.75))


def bouncing_ball(now: Moment) -> Frame:
    """An orange ball bounces in place; its shadow shrinks as it rises."""
    view, radius = now.view, 0.11
    phase = now.time / events.BOUNCE_PERIOD_SECONDS % 1
    height = 4 * phase * (1 - phase) * 0.55
    floor = paint(gradient(view, (0.72, 0.8, 0.86), (0.9, 0.9, 0.86)), below(view, 0.85), (0.45, 0.33, 0.24))
    x = view.aspect * 0.5
    shadow = paint(floor, bar(view, x, 0.88, (0.32 - 0.3 * height, 0.025)), (0.2, 0.14, 0.1))
    ball = paint(shadow, disc(view, x, 0.85 - radius - height, radius), (0.95, 0.55, 0.05))
    return paint(ball, ring(view, x, 0.85 - radius - height, radius * 0.55, 0.02), (0.35, 0.15, 0.02))


def turning_bar(now: Moment) -> Frame:
    """A blue bar turns clockwise in a ring."""
    view = now.view
    angle = 2 * np.pi * now.time / events.TURN_PERIOD_SECONDS
    x, y = view.aspect / 2, 0.5
    frame = paint(gradient(view, (0.93, 0.93, 0.9), (0.8, 0.82, 0.85)), ring(view, x, y, 0.44, 0.03), (0.3, 0.3, 0.35))
    frame = paint(frame, bar(view, x, y, (0.8, 0.12), angle), (0.1, 0.25, 0.75))
    tip = (x + 0.34 * np.cos(angle), y + 0.34 * np.sin(angle))
    return paint(frame, disc(view, *tip, 0.05), (0.95, 0.9, 0.2))


def rising_bubbles(now: Moment) -> Frame:
    """Bubbles leave the floor one by one and rise through water."""
    view = now.view
    frame = gradient(view, (0.1, 0.5, 0.62), (0.02, 0.16, 0.32))
    for i, start in enumerate(events.BUBBLE_STARTS):
        age = now.time - start
        if age < 0:
            continue
        x = view.aspect * (0.2 + 0.6 * (i * 0.37 % 1)) + 0.03 * np.sin(9 * age + i)
        y, radius = 1.05 - 0.6 * age, 0.05 + 0.012 * (i % 3)
        frame = paint(frame, disc(view, x, y, radius), (0.55, 0.85, 0.92), 0.5)
        frame = paint(frame, ring(view, x, y, radius, 0.012), (0.85, 0.97, 1.0))
    return frame


def passing_hills(now: Moment) -> Frame:
    """The camera pans to the right: near hills pass faster than far ones."""
    view = now.view
    frame = gradient(view, (0.55, 0.75, 0.92), (0.9, 0.9, 0.8))
    for speed, base, color in (
        (0.15, 0.5, (0.5, 0.6, 0.62)),
        (0.4, 0.65, (0.3, 0.48, 0.3)),
        (0.9, 0.8, (0.16, 0.3, 0.12)),
    ):
        place = view.x + speed * now.time
        frame = paint(frame, below(view, base + 0.08 * np.sin(5 * place / base) + 0.03 * np.sin(13 * place)), color)
    for i in range(12):
        x = i * 0.7 - 0.9 * now.time
        frame = paint(frame, bar(view, x, 0.8, (0.03, 0.4)), (0.25, 0.16, 0.1))
    return frame


def zooming_tunnel(now: Moment) -> Frame:
    """Rings grow outwards, as seen from something that flies into a tunnel."""
    view = now.view
    far = np.hypot(view.x - view.aspect / 2, view.y - 0.5) + 0.02
    bands = 0.5 + 0.5 * np.sin(9 * np.log(far) - 7 * now.time)
    color = np.stack([0.15 + 0.8 * bands, 0.1 + 0.35 * bands, 0.45 - 0.3 * bands], axis=-1)
    return np.asarray(color * np.clip(far * 3, 0, 1)[..., None], dtype=np.float32)


def talking_face(now: Moment) -> Frame:
    """A face whose mouth opens with every syllable of the voice."""
    view = now.view
    x, opening = view.aspect / 2, float(events.mouth_opening(np.array([now.time]))[0])
    frame = paint(gradient(view, (0.25, 0.4, 0.35), (0.16, 0.26, 0.26)), disc(view, x, 0.5, 0.38), (0.93, 0.76, 0.6))
    for side in (-1, 1):
        frame = paint(frame, disc(view, x + side * 0.14, 0.4, 0.055), (1.0, 1.0, 1.0))
        frame = paint(frame, disc(view, x + side * 0.14, 0.4, 0.028), (0.15, 0.2, 0.35))
    frame = paint(frame, bar(view, x, 0.68, (0.26, 0.03 + 0.15 * opening)), (0.5, 0.1, 0.12))
    return paint(frame, bar(view, x, 0.52, (0.03, 0.1)), (0.8, 0.6, 0.46))


def swinging_pendulum(now: Moment) -> Frame:
    """A pendulum swings, at rest for an instant on either side."""
    view = now.view
    angle = 0.7 * np.sin(2 * np.pi * now.time / events.SWING_PERIOD_SECONDS)
    x, length = view.aspect / 2, 0.68
    end = (x + length * np.sin(angle), 0.1 + length * np.cos(angle))
    middle = ((x + end[0]) / 2, (0.1 + end[1]) / 2)
    frame = paint(
        gradient(view, (0.36, 0.26, 0.2), (0.22, 0.15, 0.12)), bar(view, x, 0.1, (0.5, 0.04)), (0.1, 0.07, 0.05)
    )
    frame = paint(frame, bar(view, *middle, (length, 0.02), np.pi / 2 - angle), (0.75, 0.7, 0.6))
    return paint(frame, disc(view, *end, 0.1), (0.9, 0.75, 0.25))


def falling_rain(now: Moment) -> Frame:
    """Drops fall straight down, faster than the frame is high."""
    view = now.view
    frame = paint(gradient(view, (0.3, 0.34, 0.4), (0.42, 0.45, 0.48)), below(view, 0.88), (0.2, 0.24, 0.26))
    for i in range(28):
        x = view.aspect * (i * 0.618 % 1)
        y = (i * 0.377 + 1.7 * now.time) % 1.1 - 0.05
        frame = paint(frame, bar(view, x, y, (0.012, 0.11)), (0.8, 0.87, 0.95), 0.8)
    return frame


def sinking_sun(now: Moment) -> Frame:
    """The sun sets behind a moving sea and the sky darkens."""
    view, done = now.view, now.progress
    top = (0.25 * (1 - done) + 0.1, 0.3 * (1 - done) + 0.06, 0.6 - 0.3 * done)
    frame = gradient(view, top, (0.98, 0.6 - 0.25 * done, 0.25))
    frame = paint(frame, disc(view, view.aspect * 0.5, 0.3 + 0.5 * done, 0.15), (1.0, 0.9, 0.55))
    return paint(frame, below(view, 0.72 + 0.006 * np.sin(30 * view.x + 6 * now.time)), (0.1, 0.14, 0.28))


def crossing_squares(now: Moment) -> Frame:
    """One square goes right, another left below it."""
    view, way = now.view, now.view.aspect * now.progress
    frame = gradient(view, (0.9, 0.88, 0.82), (0.82, 0.8, 0.76))
    frame = paint(frame, bar(view, way, 0.36, (0.3, 0.3)), (0.1, 0.55, 0.35))
    return paint(frame, bar(view, view.aspect - way, 0.62, (0.3, 0.3)), (0.75, 0.15, 0.5))


def drifting_clouds(now: Moment) -> Frame:
    """Clouds drift to the right."""
    view = now.view
    frame = gradient(view, (0.22, 0.45, 0.82), (0.68, 0.84, 0.96))
    for i in range(4):
        x = (i * 0.55 + 0.35 * now.time) % (view.aspect + 0.6) - 0.3
        y = 0.2 + 0.17 * i
        for dx, radius in ((-0.13, 0.07), (0.0, 0.11), (0.13, 0.08)):
            frame = paint(frame, disc(view, x + dx, y, radius), (0.97, 0.98, 1.0))
    return frame


def flying_kite(now: Moment) -> Frame:
    """A kite on a string sways; up is up, so a wrong rotation shows."""
    view = now.view
    x = view.aspect * (0.5 + 0.25 * np.sin(3 * now.time))
    y = 0.28 + 0.06 * np.cos(5 * now.time)
    frame = paint(gradient(view, (0.5, 0.75, 0.95), (0.85, 0.93, 0.98)), below(view, 0.86), (0.35, 0.55, 0.2))
    way = np.arctan2(0.86 - y, view.aspect * 0.2 - x)
    length = float(np.hypot(0.86 - y, view.aspect * 0.2 - x))
    middle = ((x + view.aspect * 0.2) / 2, (y + 0.86) / 2)
    frame = paint(frame, bar(view, *middle, (length, 0.008), way), (0.2, 0.2, 0.2))
    return paint(frame, bar(view, x, y, (0.18, 0.18), np.pi / 4 + 0.3 * np.sin(3 * now.time)), (0.9, 0.2, 0.15))


def waving_curtain(now: Moment) -> Frame:
    """A curtain waves at the left of a window."""
    view, middle = now.view, now.view.aspect / 2
    frame = paint(
        gradient(view, (0.55, 0.45, 0.36), (0.4, 0.32, 0.26)), bar(view, middle, 0.48, (0.8, 0.72)), (0.7, 0.88, 0.98)
    )
    frame = paint(frame, bar(view, middle, 0.48, (0.03, 0.72)), (0.95, 0.93, 0.88))
    edge = middle - 0.12 + 0.1 * np.sin(6 * view.y + 5 * now.time)
    folds = 0.06 * np.sin(40 * view.x + 10 * np.sin(3 * view.y + 4 * now.time))
    curtain = (view.x < edge).astype(np.float32) * below(view, 0.08)
    return paint(frame, curtain, (0.86, 0.4, 0.38)) + (curtain * folds)[..., None].astype(np.float32)


def turning_lighthouse(now: Moment) -> Frame:
    """A beam turns clockwise in the night."""
    view, x = now.view, now.view.aspect * 0.5
    angle = 2 * np.pi * now.time / events.TURN_PERIOD_SECONDS
    bearing = np.arctan2(view.y - 0.3, view.x - x)
    beam = np.clip(1 - np.abs((bearing - angle + np.pi) % (2 * np.pi) - np.pi) / 0.35, 0, 1).astype(np.float32)
    frame = paint(gradient(view, (0.03, 0.04, 0.1), (0.1, 0.12, 0.2)), beam, (0.98, 0.94, 0.7), 0.8)
    frame = paint(frame, below(view, 0.82 + 0.02 * np.sin(12 * view.x + 3 * now.time)), (0.04, 0.1, 0.16))
    frame = paint(frame, bar(view, x, 0.62, (0.12, 0.55)), (0.85, 0.82, 0.8))
    return paint(frame, disc(view, x, 0.3, 0.07), (1.0, 0.98, 0.85))


def passing_train(now: Moment) -> Frame:
    """A train of three cars passes from right to left."""
    view = now.view
    frame = paint(gradient(view, (0.7, 0.74, 0.78), (0.8, 0.78, 0.7)), below(view, 0.82), (0.36, 0.33, 0.3))
    front = view.aspect - (view.aspect + 1.2) * now.progress
    for car in range(3):
        x = front + 0.32 + 0.66 * car
        frame = paint(frame, bar(view, x, 0.6, (0.6, 0.32)), (0.12, 0.4, 0.25))
        for side in (-0.18, 0.02, 0.2):
            frame = paint(frame, bar(view, x + side, 0.54, (0.12, 0.1)), (0.95, 0.9, 0.6))
        for side in (-0.18, 0.18):
            frame = paint(frame, disc(view, x + side, 0.78, 0.06), (0.1, 0.1, 0.1))
    return frame


def blinking_firefly(now: Moment) -> Frame:
    """A small light wanders and fades in and out."""
    view = now.view
    x = view.aspect * (0.5 + 0.35 * np.sin(2.2 * now.time))
    y = 0.5 + 0.3 * np.sin(3.7 * now.time)
    glow = np.exp(-(((view.x - x) ** 2 + (view.y - y) ** 2) / 0.02)).astype(np.float32)
    return paint(
        gradient(view, (0.08, 0.1, 0.2), (0.1, 0.2, 0.1)), glow, (0.85, 1.0, 0.3), 0.5 + 0.5 * np.cos(9 * now.time)
    )


def four_scenes(now: Moment) -> Frame:
    """Four scenes, a quarter of the time each, with hard cuts between."""
    quarter = now.seconds / 4
    index = min(int(now.time / quarter + 1e-6), 3)
    scene = (rolling_ball, drifting_clouds, rising_bubbles, turning_bar)[index]
    return scene(Moment(now.view, now.time - index * quarter, quarter))


SCENES: dict[str, Scene] = {
    scene.__name__: scene
    for scene in (
        rolling_ball,
        bouncing_ball,
        turning_bar,
        rising_bubbles,
        passing_hills,
        zooming_tunnel,
        talking_face,
        swinging_pendulum,
        falling_rain,
        sinking_sun,
        crossing_squares,
        drifting_clouds,
        flying_kite,
        waving_curtain,
        turning_lighthouse,
        passing_train,
        blinking_firefly,
        four_scenes,
    )
}
"""Every scene by its name."""
