"""Samples as they lie in the folder of `train_lora`, and the section of a page that shows them over the steps.

`samples/step_000100/` holds an mp4 for each prompt and seed, and beside each a JSON file with its digest, what was
asked for and what was measured. The first step is 0, of the base model.
"""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from ltx_core.io.atomic import find_whole
from ltx_core.io.digest import file_digest, is_vouched, voucher
from ltx_core.io.json_file import read_json, write_json
from ltx_core.media.frames import decode_frames
from ltx_core.report.page import Figures, PromptRow, Section, VariantRender, renders
from ltx_core.sampling.request import RenderRequest

FOLDER = "samples"
PAGE = "samples.html"
ARTIFACTS = (PAGE, f"{FOLDER}/*/*.mp4", f"{FOLDER}/*/*.mp4.json")
KEY_DIGITS = 8


def sample_file(out: Path, step: int, number: int, request: RenderRequest) -> Path:
    """Return where a sample lies below the stage's folder. Another request has another name, so that samples of other
    settings are never taken for these."""
    name = f"prompt_{number:02d}-seed_{request.seed}-{request.key({})[:KEY_DIGITS]}.mp4"
    return out / FOLDER / f"step_{step:06d}" / name


def keep_sample(file: Path, step: int, request: RenderRequest, figures: Figures, broken: str | None) -> None:
    """Write beside a sample's mp4 what it is.

    Raises:
        StorageError: the disk is full.
    """
    guidance = request.guidance
    sampled = f"{request.num_steps} steps, guidance {guidance.video.cfg:g} video, {guidance.audio.cfg:g} audio"
    values = {
        "digest": file_digest(file),
        "step": step,
        "prompt": request.prompt,
        "seed": request.seed,
        "size": f"{request.width}x{request.height}",
        "num_frames": request.num_frames,
        "frame_rate": request.frame_rate,
        "sampling": sampled,
        "sharpness": figures.sharpness,
        "motion": figures.motion,
        "loudness_db": figures.loudness_db,
        "broken": broken,
    }
    write_json(voucher(file), values)


def forget_samples(out: Path) -> None:
    """The run begins anew."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)
    (out / PAGE).unlink(missing_ok=True)


def broken_in(files: Iterable[Path]) -> tuple[Path, str] | None:
    """Return the first of these samples that was found broken, and how."""
    for file in files:
        if is_vouched(file) and (found := read_json(voucher(file))["broken"]):
            return file, str(found)
    return None


@dataclass(frozen=True)
class Sample:
    """One sample that is whole."""

    file: Path
    values: dict[str, Any]
    """As `keep_sample` wrote them."""

    @property
    def row(self) -> str:
        """Equal for the samples of one prompt, seed and setting over all steps."""
        return self.file.name

    @property
    def step(self) -> int:
        """Optimizer steps taken before it."""
        return int(self.values["step"])


def kept_samples(out: Path) -> list[Sample]:
    """Samples below a stage's folder, by prompt, then by step; damaged ones are left out."""
    files = [file for file in find_whole(out, f"{FOLDER}/step_*/*.mp4") if is_vouched(file)]
    found = [Sample(file, read_json(voucher(file))) for file in files]
    return sorted(found, key=lambda sample: (sample.row, sample.step))


def samples_over_steps(
    page: Path, out: Path, copies: Path | None = None, eval_losses: Mapping[int, float] | None = None
) -> list[Section]:
    """Return a section for the HTML file `page`: a row for each prompt, a column for each step, the base's first. None
    if there are no samples.

    Args:
        page: the file that the section is for; its videos are named relative to it.
        out: the folder of `train_lora`.
        copies: a folder on the same file system that gets a link to each sample, for a page that is moved with it.
        eval_losses: by step, as far as they are known; shown with the samples of that step.
    """
    by_row = groupby(kept_samples(out), key=lambda sample: sample.row)
    rows = [_row(list(group), out, copies, eval_losses or {}) for _, group in by_row]
    note = "Rendered while training ran, with few sampling steps and equal noise. Step 0 is the base model."
    return [Section("Samples over steps", renders(rows, page, small=True), note)] if rows else []


def _row(samples: Sequence[Sample], out: Path, copies: Path | None, losses: Mapping[int, float]) -> PromptRow:
    first = samples[0].values
    shown = {"size": "size", "frames": "num_frames", "frames per second": "frame_rate", "sampling": "sampling"}
    return PromptRow(
        prompt=first["prompt"],
        seed=first["seed"],
        renders=[_render(sample, _linked(sample, out, copies), losses.get(sample.step)) for sample in samples],
        settings={name: first[key] for name, key in shown.items()},
    )


def _render(sample: Sample, video: Path, eval_loss: float | None) -> VariantRender:
    values = sample.values
    figures = Figures(**{name: values[name] for name in ("sharpness", "motion", "loudness_db")})
    name = f"step {sample.step:,}" if sample.step else "base"
    detail = "" if eval_loss is None else f"eval loss {eval_loss:.4g}"
    return VariantRender(variant=name, video=video, figures=figures, poster=_middle(sample), detail=detail)


def _middle(sample: Sample) -> np.ndarray:
    values = sample.values
    (frame,) = decode_frames(sample.file, [(values["num_frames"] // 2 + 0.25) / values["frame_rate"]])
    return frame


def _linked(sample: Sample, out: Path, copies: Path | None) -> Path:
    if copies is None:
        return sample.file
    link = copies / sample.file.relative_to(out / FOLDER)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    os.link(sample.file, link)
    return link
