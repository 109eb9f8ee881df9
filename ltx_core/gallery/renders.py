"""Renders of one prompt side by side: base, champion, candidate."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ltx_core.gallery.cells import Cell, fact_list
from ltx_core.gallery.html import Html, element, escaped, png_uri, relative_link

POSTER_WIDTH = 480
"""Pixels; larger posters make the page heavy and are scaled down by the browser anyway."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was measured on one render."""

    sharpness: float
    """Variance of the Laplacian of luma."""
    motion: float
    """Mean absolute luma difference between frames, in [0, 1]."""
    loudness_db: float
    """RMS level of the sound in dBFS; -120 for silence."""
    difference_from_base: float | None = None
    """Mean absolute pixel difference from the base render, in [0, 1]; None for the base itself."""
    clip_score: float | None = None
    """How near the frames are to the prompt as a CLIP model sees them, 0 to 100; None if it was not asked."""


@dataclass(frozen=True, kw_only=True)
class VariantRender:
    """One video of a row."""

    variant: str
    """`base`, `champion` or `candidate`."""
    video: Path
    """The mp4; the page links to it relative to itself."""
    figures: Figures
    poster: np.ndarray | None = None
    """Frame uint8 [H, W, 3] shown before the video plays, kept inside the page."""
    detail: str = ""
    """Which weights made it, such as a LoRA's name and version."""


@dataclass(frozen=True, kw_only=True)
class PromptRow:
    """One prompt with one seed, and its renders from left to right; the first one is what others are compared with."""

    prompt: str
    seed: int
    renders: Sequence[VariantRender]
    settings: Mapping[str, Cell]
    """Size, frames, rate, steps, guidance: whatever a person needs to make the render again."""


def render_rows(rows: Sequence[PromptRow], page: Path) -> Html:
    """The player's buttons, and a block for each row.

    Args:
        rows: prompts in the order shown.
        page: where the page will lie; links are relative to it.

    Raises:
        DataError: a video does not exist.
    """
    if not rows:
        return element("p", escaped("No renders."), attributes={"class": "empty"})
    return Html(_player() + "".join(_row(number, row, page) for number, row in enumerate(rows, start=1)))


def _player() -> Html:
    buttons = [
        element("button", escaped(text), attributes={"type": "button", "data-do": action, "aria-pressed": pressed})
        for action, text, pressed in (
            ("play", "Play", "true"),
            ("loop", "Loop", "true"),
            ("restart", "Restart together", False),
            ("mute", "Mute all", "true"),
        )
    ]
    hint = element("span", escaped("Unmute one video to hear it; the others fall silent."))
    return element("div", *buttons, hint, attributes={"class": "player"})


def _row(number: int, row: PromptRow, page: Path) -> Html:
    heading = element(
        "header",
        element("span", escaped(number), attributes={"class": "index"}),
        element("h3", escaped(row.prompt)),
        fact_list({"Seed": str(row.seed), **row.settings}),
    )
    reference = row.renders[0].figures if row.renders else None
    videos = [_render(render, reference, page) for render in row.renders]
    columns = {"class": "videos", "style": f"--columns: {max(len(videos), 1)}"}
    return element("article", heading, element("div", *videos, attributes=columns), attributes={"class": "row"})


def _render(render: VariantRender, reference: Figures | None, page: Path) -> Html:
    attributes: dict[str, str | bool] = {
        "src": relative_link(render.video, page),
        "controls": True,
        "autoplay": True,
        "muted": True,
        "loop": True,
        "playsinline": True,
        "preload": "metadata",
    }
    if render.poster is not None:
        attributes["poster"] = png_uri(poster_png(render.poster))
    caption = element(
        "figcaption",
        element("strong", escaped(render.variant), attributes={"class": "variant"}),
        element("span", escaped(render.detail), attributes={"class": "detail"}),
    )
    video = element("video", attributes=attributes)
    return element("figure", caption, video, figure_list(render.figures, reference))


def figure_list(figures: Figures, reference: Figures | None) -> Html:
    """Measured figures, with the change from `reference` where that is another render."""
    other = reference if reference is not figures else None
    loudness = f"{figures.loudness_db:.1f} dB" if figures.loudness_db > -120 else "silent"
    louder = f"{figures.loudness_db - other.loudness_db:+.1f} dB" if other and other.loudness_db > -120 else ""
    pairs = [
        ("Sharpness", f"{figures.sharpness:.4g}", _change(figures.sharpness, other.sharpness if other else None)),
        ("Motion", f"{figures.motion:.4f}", _change(figures.motion, other.motion if other else None)),
        ("Loudness", loudness, louder if loudness != "silent" else ""),
    ]
    if figures.difference_from_base is not None:
        pairs.append(("From base", f"{figures.difference_from_base:.4f}", ""))
    if figures.clip_score is not None:
        change = _change(figures.clip_score, other.clip_score if other else None)
        pairs.append(("CLIP score", f"{figures.clip_score:.2f}", change))
    terms = [
        element(
            "div",
            element("dt", escaped(name)),
            element("dd", escaped(value), element("small", escaped(change)) if change else Html("")),
        )
        for name, value, change in pairs
    ]
    return element("dl", *terms, attributes={"class": "figures"})


def poster_png(frame: np.ndarray) -> bytes:
    """Frame uint8 [H, W, 3] as PNG bytes, not wider than `POSTER_WIDTH`."""
    image = Image.fromarray(np.ascontiguousarray(frame))
    if image.width > POSTER_WIDTH:
        height = max(round(image.height * POSTER_WIDTH / image.width), 1)
        image = image.resize((POSTER_WIDTH, height), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def _change(value: float, reference: float | None) -> str:
    return f"{value / reference - 1:+.0%}" if reference else ""
