"""Draw what a LoRA taught the tiny model: `python -m scripts.demo_picture FOLDER docs/images/demo.png`."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from datasets_spec import Render
from flows.config import RunConfig, load_config
from flows.plan import required_manifest
from ltx_core.io.atomic import atomic_path
from ltx_core.media.frames import decode_frames
from ltx_core.tiny.trained import demo_specs
from ltx_core.tiny.world import HEIGHT, WIDTH, caption
from tasks import stage_named

ROWS = {"pink": 3, "known": 2}
"""Captions of each kind that are shown."""
SHOWN = (0, 8, 16)
"""Frames of each render."""
GAP, LINE = 6, 22


def main() -> int:
    """Base on the left, LoRA on the right, the caption above both."""
    folder, path = Path(sys.argv[1]), Path(sys.argv[2])
    config = load_config(folder / "ltx2-lora.yaml", {})
    rows = [row for row in required_manifest(stage_named("render_validation"), config.place()) if row.mode == "t2v"]
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
    return 0


def frames(config: RunConfig, row: Render) -> Image.Image:
    """Some frames of a render, side by side."""
    times = [(i + 0.25) / row.frame_rate for i in SHOWN]
    return Image.fromarray(np.concatenate(list(decode_frames(config.workspace / row.file, times)), axis=1))


if __name__ == "__main__":
    sys.exit(main())
