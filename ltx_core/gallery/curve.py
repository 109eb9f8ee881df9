"""A line chart as inline SVG: a few series, labelled axes, values on hover."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ltx_core.gallery.cells import readable
from ltx_core.gallery.html import Html, element, escaped

WIDTH, HEIGHT = 720.0, 280.0
LEFT, RIGHT, TOP, BOTTOM = 66.0, 16.0, 14.0, 46.0
NUM_COLOURS = 5


@dataclass(frozen=True)
class Series:
    """One line."""

    name: str
    points: Sequence[tuple[float, float]]
    """(x, y); points that are not finite are left out and counted under the chart."""


@dataclass(frozen=True)
class Axis:
    """One axis: its range, widened to round numbers, and where its marks are."""

    low: float
    high: float
    marks: tuple[float, ...]
    decimals: int
    """Digits after the point that tell the marks apart."""

    def label(self, mark: float) -> str:
        return f"{mark:,.{self.decimals}f}"

    def place(self, value: float, start: float, end: float) -> float:
        return start + (value - self.low) / (self.high - self.low) * (end - start)


def curve(series: Sequence[Series], *, x_label: str, y_label: str) -> Html:
    """The chart with its legend. Axes span the data, not zero, because a loss is read by its fall."""
    finite = [[p for p in one.points if math.isfinite(p[0]) and math.isfinite(p[1])] for one in series]
    dropped = sum(len(one.points) for one in series) - sum(map(len, finite))
    if not any(finite):
        return element("p", escaped("No points yet."), attributes={"class": "empty"})
    x_axis, y_axis = (nice_axis([point[i] for line in finite for point in line]) for i in (0, 1))
    drawn = [
        *_grid(x_axis, y_axis),
        *_labels(x_label, y_label),
        *(_line(i, one.name, line, x_axis, y_axis) for i, (one, line) in enumerate(zip(series, finite, strict=True))),
    ]
    box = {"viewBox": f"0 0 {WIDTH:g} {HEIGHT:g}", "role": "img", "aria-label": f"{y_label} over {x_label}"}
    left_out = element("p", escaped(f"{dropped} points are not finite and not drawn."), attributes={"class": "warn"})
    return element(
        "figure",
        _legend(series),
        element("svg", *drawn, attributes=box),
        left_out if dropped else Html(""),
        attributes={"class": "curve"},
    )


def nice_axis(values: Sequence[float], target: int = 5) -> Axis:
    """Marks at 1, 2 or 5 times a power of ten, about `target` of them, and the range that they span."""
    low, high = min(values), max(values)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-3):
        pad = abs(low) * 0.1 if abs(low) > 1e-9 else 1.0
        low, high = low - pad, high + pad
    raw = (high - low) / target
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    marks = tuple(round(i * step, decimals) for i in range(first, last + 1))
    return Axis(marks[0], marks[-1], marks, decimals)


def _grid(x_axis: Axis, y_axis: Axis) -> list[Html]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    drawn = []
    for mark in y_axis.marks:
        y = y_axis.place(mark, bottom, TOP)
        drawn.append(_path(f"M{LEFT:g} {y:.1f}H{right:g}", "grid"))
        drawn.append(_text(y_axis.label(mark), LEFT - 8, y + 4, "end"))
    for mark in x_axis.marks:
        x = x_axis.place(mark, LEFT, right)
        drawn.append(_path(f"M{x:.1f} {bottom:g}v4", "tick"))
        drawn.append(_text(x_axis.label(mark), x, bottom + 18, "middle"))
    return [*drawn, _path(f"M{LEFT:g} {bottom:g}H{right:g}", "axis")]


def _labels(x_label: str, y_label: str) -> list[Html]:
    middle = TOP + (HEIGHT - BOTTOM - TOP) / 2
    turned = {"x": "14", "y": f"{middle:g}", "text-anchor": "middle", "transform": f"rotate(-90 14 {middle:g})"}
    return [
        _text(x_label, LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - 8, "middle", "label"),
        element("text", escaped(y_label), attributes={**turned, "class": "label"}),
    ]


def _line(index: int, name: str, points: Sequence[tuple[float, float]], x_axis: Axis, y_axis: Axis) -> Html:
    placed = [(x_axis.place(x, LEFT, WIDTH - RIGHT), y_axis.place(y, HEIGHT - BOTTOM, TOP)) for x, y in sorted(points)]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in placed) if placed else ""
    dots = [
        element(
            "circle",
            element("title", escaped(f"{name}: {readable(y)} at {readable(x)}")),
            attributes={"cx": f"{cx:.1f}", "cy": f"{cy:.1f}", "r": "3"},
        )
        for (cx, cy), (x, y) in zip(placed, sorted(points), strict=True)
    ]
    return element("g", _path(path, "line"), *dots, attributes={"class": _colour(index)})


def _legend(series: Sequence[Series]) -> Html:
    names = [element("li", escaped(one.name), attributes={"class": _colour(i)}) for i, one in enumerate(series)]
    return element("ul", *names, attributes={"class": "legend"})


def _colour(index: int) -> str:
    return f"series{index % NUM_COLOURS}"


def _path(d: str, name: str) -> Html:
    return element("path", attributes={"d": d, "class": name})


def _text(text: str, x: float, y: float, anchor: str, name: str = "mark") -> Html:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor, "class": name}
    return element("text", escaped(text), attributes=place)
