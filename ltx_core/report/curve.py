"""A line chart as inline SVG: a few series, labelled axes, values on hover."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ltx_core.report.page import markup, readable

WIDTH, HEIGHT = 720, 280
LEFT, RIGHT, TOP, BOTTOM = 66, 16, 14, 46
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


def curve(series: Sequence[Series], *, x_label: str, y_label: str) -> Markup:
    """The chart with its legend. Axes span the data, not zero, because a loss is read by its fall."""
    finite = [[p for p in one.points if math.isfinite(p[0]) and math.isfinite(p[1])] for one in series]
    if not any(finite):
        return markup("cells", (), (), (), "No points yet.", macro="table")
    x_axis, y_axis = (nice_axis([point[i] for line in finite for point in line]) for i in (0, 1))
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    chart = {
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": right,
        "bottom": bottom,
        "middle": (TOP + bottom) / 2,
        "x_label": x_label,
        "y_label": y_label,
        "x_marks": [(f"{x_axis.place(mark, LEFT, right):.1f}", x_axis.label(mark)) for mark in x_axis.marks],
        "y_marks": [(f"{y_axis.place(mark, bottom, TOP):.1f}", y_axis.label(mark)) for mark in y_axis.marks],
        "lines": [_line(i, one.name, sorted(finite[i]), x_axis, y_axis) for i, one in enumerate(series)],
        "dropped": sum(len(one.points) for one in series) - sum(map(len, finite)),
    }
    return markup("curve", chart)


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


def _line(
    index: int, name: str, points: Sequence[tuple[float, float]], x_axis: Axis, y_axis: Axis
) -> dict[str, object]:
    """Values of one series for the template: its path, and for each point a dot with its value."""
    places = [
        (f"{x_axis.place(x, LEFT, WIDTH - RIGHT):.1f}", f"{y_axis.place(y, HEIGHT - BOTTOM, TOP):.1f}")
        for x, y in points
    ]
    values = [f"{name}: {readable(y)} at {readable(x)}" for x, y in points]
    return {
        "name": name,
        "colour": f"series{index % NUM_COLOURS}",
        "path": "M" + "L".join(map(" ".join, places)) if places else "",
        "dots": [(*place, value) for place, value in zip(places, values, strict=True)],
    }
