"""Say what a LoRA taught the tiny model: `python -m scripts.score_tiny FOLDER`, after `ltx2-lora tiny` and a run."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.truth.clips import read_clips
from datasets_spec import Render
from flows.config import RunConfig, load_config
from flows.plan import required_manifest
from ltx_core.tiny.trained import demo_specs
from ltx_core.tiny.world import FRAME_RATE, FRAMES, Spec, caption
from scripts.pretrain.score import measure
from tasks import stage_named

JUDGED = {"pink": "colour", "bell": "audio", "known": "all"}
"""What has to be right in renders of each kind of caption."""


def main() -> int:
    """One line for each kind of caption: what is right without the LoRA, and with it."""
    for name, count, before, after in scores(load_config(Path(sys.argv[1]) / "ltx2-lora.yaml", {})):
        sys.stdout.write(
            f"{name}: {JUDGED[name]} is right in {before:.0%} of {count} renders without the LoRA and in "
            f"{after:.0%} with it\n"
        )
    return 0


def scores(config: RunConfig) -> Iterator[tuple[str, int, float, float]]:
    """Kind of caption, number of renders, and the fraction that is right without and with the LoRA."""
    rows = [row for row in required_manifest(stage_named("render_validation"), config.place()) if row.mode == "t2v"]
    for name, specs in demo_specs().items():
        before, after = (measured(config, rows, specs, variant) for variant in ("base", "candidate"))
        yield name, len(specs), before[JUDGED[name]], after[JUDGED[name]]


def measured(config: RunConfig, rows: Sequence[Render], specs: Sequence[Spec], variant: str) -> dict[str, float]:
    """Fractions of the renders of these captions in which each thing is right."""
    by_prompt = {row.prompt: config.workspace / row.file for row in rows if row.variant == variant}
    return measure(list(specs), read_clips([by_prompt[caption(spec)] for spec in specs], FRAMES, FRAME_RATE))


if __name__ == "__main__":
    sys.exit(main())
