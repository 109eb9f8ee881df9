"""The pages people look at: a gallery of renders side by side, and a contact sheet of their middle frames."""

import os
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from datasets_spec import Checkpoint, Render
from ltx_core.gallery.cells import Cell
from ltx_core.gallery.contact_sheet import SheetRow, middle_frame, render_sheet
from ltx_core.gallery.page import gallery
from ltx_core.gallery.renders import Figures, PromptRow, VariantRender
from ltx_core.media.frames import decode_frames
from tasks.render_release import in_numbers
from tasks.sampling_config import SamplingConfig
from tasks.stage_run import StageRun


def draw_gallery(rows: Sequence[Render], run: StageRun, checkpoint: Checkpoint) -> None:
    """Write `gallery.html` and `renders.png`, with the videos linked into `renders/` beside them."""
    if not rows:
        return
    folder = run.out / "renders"
    folder.mkdir(exist_ok=True)
    model = run.shared.model
    runs = {own.name: in_numbers(own.over(run.config), model) for own in run.config.adapters}
    ordered = sorted(rows, key=lambda row: (*_request_of(row), list(runs).index(row.adapters) if row.adapters else -1))
    prompts: list[PromptRow] = []
    sheet: list[SheetRow] = []
    for _, group in groupby(ordered, key=_request_of):
        rows_of_one = list(group)
        first = rows_of_one[0]
        prompt, seed = first.prompt, first.seed
        renders = [_variant(row, run, runs, number=len(prompts)) for row in rows_of_one]
        prompts.append(PromptRow(prompt=prompt, seed=seed, renders=renders, settings=_settings(first, run)))
        sheet.append(
            SheetRow(
                f"{prompt}  ({first.mode}, seed {seed})",
                [(r.variant, r.poster) for r in renders if r.poster is not None],
            )
        )
    facts: dict[str, Cell] = {
        "LoRA": checkpoint.sha256,
        "steps": checkpoint.step,
        "eval loss": checkpoint.eval_loss,
        "eval loss of the base": checkpoint.base_eval_loss,
    }
    gallery(run.out / "gallery.html", "Validation renders", facts, prompts)
    render_sheet(run.out / "renders.png", "Validation renders, middle frames", sheet)


def _request_of(row: Render) -> tuple[str, str, str, int]:
    return row.mode, row.clip_id or row.given_file or "", row.prompt, row.seed


def _variant(row: Render, run: StageRun, runs: Mapping[str, SamplingConfig], *, number: int) -> VariantRender:
    source = run.workspace.root / row.file
    name = f"{row.variant}-{row.adapters}" if row.adapters else row.variant
    video = run.out / "renders" / f"{number:02d}-seed{row.seed}-{name}.mp4"
    video.unlink(missing_ok=True)
    os.link(source, video)  # the pool and this folder are one file system, and gc counts on both names
    return VariantRender(
        variant=f"{row.variant} with {row.adapters}" if row.adapters else row.variant,
        video=video,
        detail=_sampled(runs[row.adapters]) if row.adapters else "",
        figures=Figures(
            sharpness=row.sharpness,
            motion=row.motion,
            loudness_db=row.loudness_db,
            difference_from_base=None if row.variant == "base" else row.difference_from_base,
            clip_score=row.clip_score,
        ),
        poster=_middle(row, run),
    )


def _middle(row: Render, run: StageRun) -> np.ndarray:
    time = (row.num_frames // 2 + 0.25) / row.frame_rate
    return middle_frame(np.stack(list(decode_frames(run.workspace.root / row.file, [time]))))


def _settings(row: Render, run: StageRun) -> dict[str, str | int | float | None]:
    given = {
        "i2v": "first frame of",
        "s2v": "sound of",
        "extend": "going on from the beginning of",
        "inpaint": "a region made anew in",
    }.get(row.mode)
    source = row.clip_id or Path(row.given_file or "").name
    return {
        "mode": f"{row.mode}: {given} {source}" if given else row.mode,
        "size": f"{row.width}x{row.height}",
        "frames": row.num_frames,
        "frames per second": row.frame_rate,
        "sampling": _sampled(in_numbers(run.config, run.shared.model)),
    }


def _sampled(sampling: SamplingConfig) -> str:
    return f"{sampling.num_steps} steps, guidance {sampling.video_cfg:g} picture, {sampling.audio_cfg:g} sound"
