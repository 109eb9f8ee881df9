"""Say what a LoRA taught the tiny model: `python -m scripts.score_tiny FOLDER`, after `ltx2-lora tiny` and a run. Add
`docs/images/demo.png` to draw it too."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.truth.clips import read_clips
from datasets_spec import Render
from flows.config import RunConfig, load_config
from flows.plan import required_manifest
from ltx_core.io.atomic import atomic_path
from ltx_core.media.frames import decode_frames
from ltx_core.tiny.trained import demo_specs
from ltx_core.tiny.world import FRAME_RATE, FRAMES, HEIGHT, WIDTH, Spec, caption
from scripts.pretrain.score import measure
from tasks import stage_named

JUDGED = {"pink": "colour", "bell": "audio", "known": "all"}
"""What has to be right in renders of each kind of caption."""
ROWS = {"pink": 3, "known": 2}
"""Captions of each kind that are shown."""
SHOWN = (0, 8, 16)
"""Frames of each render."""
GAP, LINE = 6, 22


def main() -> int:
    """One line for each kind of caption: what is right without the LoRA, and with it."""
    config = load_config(Path(sys.argv[1]) / "ltx2-lora.yaml", {})
    for name, count, before, after in scores(config):
        sys.stdout.write(
            f"{name}: {JUDGED[name]} is right in {before:.0%} of {count} renders without the LoRA and in "
            f"{after:.0%} with it\n"
        )
    if len(sys.argv) > 2:
        draw(config, Path(sys.argv[2]))
    return 0


def rendered(config: RunConfig) -> list[Render]:
    """The renders of captions."""
    return [row for row in required_manifest(stage_named("render_validation"), config.place()) if row.mode == "t2v"]


def scores(config: RunConfig) -> Iterator[tuple[str, int, float, float]]:
    """Kind of caption, number of renders, and the fraction that is right without and with the LoRA."""
    rows = rendered(config)
    for name, specs in demo_specs().items():
        before, after = (measured(config, rows, specs, variant) for variant in ("base", "candidate"))
        yield name, len(specs), before[JUDGED[name]], after[JUDGED[name]]


def measured(config: RunConfig, rows: Sequence[Render], specs: Sequence[Spec], variant: str) -> dict[str, float]:
    """Fractions of the renders of these captions in which each thing is right."""
    by_prompt = {row.prompt: config.workspace / row.file for row in rows if row.variant == variant}
    return measure(list(specs), read_clips([by_prompt[caption(spec)] for spec in specs], FRAMES, FRAME_RATE))


def draw(config: RunConfig, path: Path) -> None:
    """Some renders as a picture: base on the left, LoRA on the right, the caption above both."""
    rows = rendered(config)
    captions = [caption(spec) for name, count in ROWS.items() for spec in demo_specs()[name][:count]]
    strip = WIDTH * len(SHOWN)
    picture = Image.new("RGB", (2 * strip + 3 * GAP, LINE + len(captions) * (HEIGHT + LINE + GAP)), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for column, title in enumerate(("without the LoRA", "with the LoRA")):
        pen.text((GAP + column * (strip + GAP), 3), title, fill="#666", font=font)
    for number, text in enumerate(captions):
        top = LINE + number * (HEIGHT + LINE + GAP)
        pen.text((GAP, top + 3), text, fill="black", font=font)
        for column, variant in enumerate(("base", "candidate")):
            row = next(row for row in rows if row.prompt == text and row.variant == variant)
            picture.paste(frames(config, row), (GAP + column * (strip + GAP), top + LINE))
    with atomic_path(path) as partial:
        picture.save(partial, format="PNG", optimize=True)


def frames(config: RunConfig, row: Render) -> Image.Image:
    """Some frames of a render, side by side."""
    times = [(i + 0.25) / row.frame_rate for i in SHOWN]
    return Image.fromarray(np.concatenate(list(decode_frames(config.workspace / row.file, times)), axis=1))


if __name__ == "__main__":
    sys.exit(main())
