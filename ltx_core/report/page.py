"""Whole pages and their parts: renders, clips, tables, line charts. One HTML file each, nothing loaded from outside but
videos.

The markup is in `templates/`, where every value is escaped; same input, same bytes: no clock, no random ids.
"""

import base64
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import numpy as np
from markupsafe import Markup
from PIL import Image

from ltx_core.errors import DataError, ShapeError
from ltx_core.io.atomic import write_bytes

if TYPE_CHECKING:
    from jinja2 import Environment
import math

POSTER_WIDTH = 480
"""Pixels; larger posters make the page heavy and are scaled down by the browser anyway."""

LONG = 40
"""Characters from which a cell may be broken anywhere and gets more room."""
Tone = Literal["good", "warn", "bad", "plain"]


@dataclass(frozen=True)
class Link:
    """A cell that leads somewhere.

    Raises:
        ValueError: it leads to something other than a relative address or http(s).
    """

    text: str
    href: str

    def __post_init__(self) -> None:
        scheme = self.href.partition(":")[0] if ":" in self.href.split("/", 1)[0] else ""
        if scheme.lower() not in ("", "http", "https"):
            raise ValueError(f"link {self.text!r} leads to {self.href!r}; use a relative address or http(s)")


@dataclass(frozen=True)
class Badge:
    """A short state in a coloured pill, such as `Built` or `Reused`."""

    text: str
    tone: Tone = "plain"


Cell = str | int | float | None | Link | Badge


@dataclass(frozen=True)
class Section:
    """One titled part of a page."""

    title: str
    body: Markup
    note: str = ""
    """One line under the title."""

    @property
    def anchor(self) -> str:
        """Name of its place in the page, for links to it: the title in lower-case letters, digits and hyphens."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-") or "section"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Measurements of one render."""

    sharpness: float
    """Variance of the Laplacian of luma."""
    motion: float
    """Mean absolute luma difference between frames, in [0, 1]."""
    loudness_db: float
    """RMS level of the audio in dBFS; -120 for silence."""
    difference_from_base: float | None = None
    """Mean absolute pixel difference from the base render, in [0, 1]; None for the base itself."""
    clip_score: float | None = None
    """Similarity of the frames to the prompt as a CLIP model sees them, 0 to 100; None if it was not asked."""


@dataclass(frozen=True, kw_only=True)
class VariantRender:
    """One video of a row."""

    variant: str
    """`base` or `candidate`."""
    video: Path
    """The mp4; the page links to it relative to itself."""
    figures: Figures
    poster: np.ndarray | None = None
    """Frame uint8 [H, W, 3] shown before the video plays, kept inside the page."""
    detail: str = ""
    """The weights that made it, such as a LoRA's name and version."""


@dataclass(frozen=True, kw_only=True)
class PromptRow:
    """One prompt with one seed, and its renders from left to right; the first one is what others are compared with."""

    prompt: str
    seed: int
    renders: Sequence[VariantRender]
    settings: Mapping[str, Cell]
    """Size, frames, rate, steps, guidance: whatever a person needs to make the render again."""


@dataclass(frozen=True, kw_only=True)
class ClipPreview:
    """A clip of the footage, small enough to play in a page."""

    name: str
    caption: str
    video: Path
    """An mp4; the page links to it relative to itself."""
    poster: Path
    """An image shown before it plays."""
    badges: Sequence[Badge]
    """Its bucket, whether it is held out, what is heard."""


def renders(rows: Sequence[PromptRow], page: Path, *, small: bool = False) -> Markup:
    """Renders side by side, a row for each prompt, whose videos play in step.

    Args:
        rows: one for each prompt.
        page: the file that shows them.
        small: for rows of many renders, which are scrolled sideways where they are wider than the page.

    Raises:
        DataError: a video does not exist.
    """
    shown: list[dict[str, Any]] = [
        {
            "prompt": row.prompt,
            "settings": {"Seed": str(row.seed), **row.settings},
            "videos": [_video(render, row.renders[0].figures, page) for render in row.renders],
        }
        for row in rows
    ]
    return markup("renders", shown, small)


def clips(previews: Sequence[ClipPreview], page: Path) -> Markup:
    """Clips of the footage as cards that play; `page` is the file that shows them.

    Raises:
        DataError: a video or poster does not exist.
    """
    shown = [
        {"clip": one, "source": _relative_link(one.video, page), "poster": _relative_link(one.poster, page)}
        for one in previews
    ]
    return markup("clips", shown)


def folded(title: str, body: Markup) -> Markup:
    """A part that opens when its title is clicked."""
    return markup("cells", title, body, macro="folded")


def link_to(text: str, target: Path, page: Path) -> Link:
    """A link to a file beside `page`, relative so that both can be moved together."""
    return Link(text, "./" + quote(Path(os.path.relpath(target.resolve(), page.parent.resolve())).as_posix()))


def run_report(path: Path, title: str, facts: Mapping[str, Cell], sections: Sequence[Section]) -> None:
    """Write a page of facts and titled sections, whole or not at all.

    Raises:
        StorageError: the disk is full or read-only.
    """
    shown = markup("cells", facts, macro="facts")
    page = _environment().get_template("page.html").render(title=title, facts=shown, sections=sections)
    write_bytes(path, f"{page}\n".encode())


def table(headers: Sequence[str], rows: Sequence[Sequence[Cell]], *, empty: str = "Nothing here.") -> Markup:
    """A table; columns of numbers are set to the right.

    Args:
        headers: one a column.
        rows: cells of each row.
        empty: said instead when there are no rows.

    Raises:
        ShapeError: a row has more or fewer cells than there are headers.
    """
    if wrong := next((row for row in rows if len(row) != len(headers)), None):
        raise ShapeError(f"table row has {len(wrong)} cells for {len(headers)} headers: {wrong}")
    numeric = [
        all(isinstance(cell, int | float) or cell is None for cell in column) for column in zip(*rows, strict=True)
    ]
    return markup("cells", headers, rows, numeric, empty, macro="table")


def readable(value: str | int | float | None) -> str:
    """Numbers with thousands separated and four significant digits; nothing as a dash."""
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 10_000 <= abs(value) < 1e15 else f"{value:,.4g}"
    return value


def markup(template: str, *values: Any, macro: str | None = None) -> Markup:
    """The result of a template's macro, which has the template's name unless another is named."""
    module = _environment().get_template(f"{template}.html").module
    return Markup(getattr(module, macro or template)(*values))


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined  # a tenth of a second, which `plan` does without

    made = Environment(
        loader=PackageLoader("ltx_core.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "readable": readable,
        "number_class": lambda yes: Markup(' class="number"') if yes else "",
        "long_class": lambda cell: Markup(' class="long"') if _is_long(cell) else "",
    }
    made.tests |= {"link": lambda cell: isinstance(cell, Link), "badge": lambda cell: isinstance(cell, Badge)}
    return made


def _is_long(cell: Cell) -> bool:
    """True if it wants a line of its own, or a wide column."""
    return len(cell.text if isinstance(cell, Link | Badge) else str(cell)) > LONG


def _video(render: VariantRender, reference: Figures, page: Path) -> dict[str, Any]:
    """Values of one render for the template."""
    return {
        "variant": render.variant,
        "detail": render.detail,
        "source": _relative_link(render.video, page),
        "poster": None if render.poster is None else _jpeg_uri(render.poster),
        "figures": _compared(render.figures, reference if reference is not render.figures else None),
    }


def _relative_link(target: Path, page: Path) -> str:
    """URL of `target` as seen from the page's folder, so that the folder can be moved or zipped as a whole.

    Raises:
        DataError: there is no such file.
    """
    if not target.is_file():
        raise DataError(f"{page.name} would link to {target}, which does not exist; render it again")
    return quote(Path(os.path.relpath(target.resolve(), page.parent.resolve())).as_posix())


def _compared(figures: Figures, other: Figures | None) -> list[tuple[str, str, str]]:
    """Name, value, and change from the other render's, of each figure."""
    is_silent = figures.loudness_db <= -120
    loudness = "silent" if is_silent else f"{figures.loudness_db:.1f} dB"
    is_louder = other is not None and other.loudness_db > -120 and not is_silent
    louder = f"{figures.loudness_db - other.loudness_db:+.1f} dB" if other and is_louder else ""
    rows = [
        ("Sharpness", f"{figures.sharpness:.6f}", _change(figures.sharpness, other.sharpness if other else None)),
        ("Motion", f"{figures.motion:.4f}", _change(figures.motion, other.motion if other else None)),
        ("Loudness", loudness, louder),
    ]
    if figures.difference_from_base is not None:
        rows.append(("From base", f"{figures.difference_from_base:.4f}", ""))
    if figures.clip_score is not None:
        change = _change(figures.clip_score, other.clip_score if other else None)
        rows.append(("CLIP score", f"{figures.clip_score:.2f}", change))
    return rows


def _change(value: float, reference: float | None) -> str:
    return f"{value / reference - 1:+.0%}" if reference else ""


def _jpeg_uri(frame: np.ndarray) -> str:
    """Frame uint8 [H, W, 3], not wider than `POSTER_WIDTH`, as a URI that needs no file."""
    image = Image.fromarray(np.ascontiguousarray(frame))
    if image.width > POSTER_WIDTH:
        height = max(round(image.height * POSTER_WIDTH / image.width), 1)
        image = image.resize((POSTER_WIDTH, height), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


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
