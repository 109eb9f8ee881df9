"""Results of renders: figures of each, how well it fits its prompt, and the pages that people look at."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets_spec import Checkpoint, Render
from ltx_core.io.digest import DigestMemo, file_digest, text_digest
from ltx_core.media.audio import decode_audio
from ltx_core.media.frames import decode_frames
from ltx_core.media.measure import SILENCE_DB, loudness_db, motion, sharpness
from ltx_core.media.probe import probe_media
from ltx_core.media.workers import default_workers
from ltx_core.progress import Progress, stop_if_asked
from ltx_core.report.contact_sheet import SheetRow, contact_sheet
from ltx_core.report.page import Cell, Figures, PromptRow, Section, VariantRender, renders, run_report
from ltx_core.store.json_items import ItemStore
from ltx_core.vision.folder import clip_identity, locate_clip, pending_clip
from tasks.runtime.conditions import described
from tasks.runtime.device import prepare_device
from tasks.runtime.stage import StageRun
from tasks.stages.render.config import RenderValidationConfig, SamplingConfig, in_numbers
from tasks.stages.render.jobs import RenderJob
from tasks.stages.samples.kept import FOLDER as SAMPLES
from tasks.stages.samples.kept import samples_over_steps

if TYPE_CHECKING:
    from ltx_core.hub.repository import PendingFile
    from ltx_core.vision.clip_score import ClipScorer


def measured_row(job: RenderJob, reference: Path, file: str, sha256: str) -> Render:
    """The row of one render; `reference` is the base model's render of the same prompt and seed, or the same file."""
    request, info = job.request, probe_media(job.video)
    rate, numbers = job.request.frame_rate, range(job.request.num_frames)
    frames = np.stack(list(_frames(job.video, rate, numbers)))
    waveform = decode_audio(job.video, 0.0, request.seconds, rate=info.audio_rate)
    difference = 0.0 if reference == job.video else _difference(frames, _frames(reference, rate, numbers))
    parts = job.conditioning.single if job.conditioning else ()
    return Render(
        render_key=job.key,
        variant=job.variant,
        mode=request.mode,
        conditions=described(job.conditioning.conditions) if job.conditioning else "",
        adapters=job.run,
        clip_id=job.conditioning.clip.clip_id if job.conditioning and job.conditioning.clip else None,
        given_file=next((str(part.file) for part in parts if part.file), None),
        given_start_seconds=job.conditioning.start_seconds if job.conditioning else 0.0,
        prompt=request.prompt,
        seed=request.seed,
        num_frames=info.num_frames,
        width=info.width,
        height=info.height,
        frame_rate=request.frame_rate,
        audio_rate=info.audio_rate,
        sharpness=sharpness(frames),
        motion=motion(frames),
        loudness_db=loudness_db(waveform),
        difference_from_base=difference,
        sha256=sha256,
        file=file,
    )


def _frames(video: Path, frame_rate: float, numbers: Iterable[int]) -> Iterator[np.ndarray]:
    """Frames of a render by their numbers, each asked for a quarter into its time, so that rounding does not matter."""
    return decode_frames(video, [(number + 0.25) / frame_rate for number in numbers])


def _difference(frames: np.ndarray, others: Iterable[np.ndarray]) -> float:
    """The mean absolute difference, in [0, 1], of uint8 [F, H, W, 3] from as many frames that come one by one."""
    pairs = zip(frames, others, strict=True)
    total = sum(int(np.abs(one.astype(np.int16) - other).sum(dtype=np.int64)) for one, other in pairs)
    return total / frames.size / 255


VARIANTS = ("base", "candidate")
NUM_FRAMES = 8
"""Frames of a render that are scored, at equal distances."""


def clip_scores(jobs: Sequence[RenderJob], run: StageRun[RenderValidationConfig]) -> Mapping[str, float]:
    """Score of each render by its key; empty where none is asked for. A render once scored is not scored again."""
    if run.config.clip_model is None:
        return {}
    from ltx_core.vision.clip_score import clip_score

    folder, store = Path(run.config.clip_model), ItemStore(run.workspace.store / "clip_scores", run.progress)
    judge = text_digest(clip_identity(folder, run.memo), run.version, str(NUM_FRAMES))
    scores: dict[str, float] = {}
    scorer = cache(partial(_loaded, folder, run))

    def score(job: RenderJob) -> float:
        return clip_score(scorer(), _looked_at(job), job.request.prompt)

    seen = [job for job in jobs if job.request.mode != "t2a"]
    for number, job in enumerate(seen):
        stop_if_asked(run.progress, "scoring renders")
        key = text_digest(judge, file_digest(job.video), job.request.prompt)
        scores[job.key], _ = store.get_or_compute(key, partial(score, job), anew=run.force)
        run.progress.advance(number + 1, len(seen), "renders scored")
    return scores


def observed_clip(config: RenderValidationConfig, memo: DigestMemo) -> str | None:
    """The judge, by content."""
    return None if config.clip_model is None else clip_identity(Path(config.clip_model), memo)


def pending_judge(config: RenderValidationConfig) -> "tuple[PendingFile, ...]":
    """Return the files that would have to be downloaded.

    Raises:
        CheckpointError, TransientError: no such model, here or on the hub.
    """
    return () if config.clip_model is None else pending_clip(config.clip_model)


def prepare_judge(config: RenderValidationConfig, progress: Progress) -> RenderValidationConfig:
    """The same with the model's folder on this machine.

    Raises:
        CheckpointError, TransientError, StorageError: there is no such model, or it cannot be had.
    """
    if config.clip_model is None:
        return config
    return config.model_copy(update={"clip_model": str(locate_clip(config.clip_model, progress))})


def _loaded(folder: Path, run: StageRun[RenderValidationConfig]) -> "ClipScorer":
    from ltx_core.vision.clip_score import load_clip

    scorer = load_clip(folder, prepare_device(run.shared.memory))
    run.memo.check()
    return scorer


def _looked_at(job: RenderJob) -> np.ndarray:
    """uint8 [F, H, W, 3] of the mp4 that people will see, the middle one of each part; each frame at most once."""
    count = min(NUM_FRAMES, job.request.num_frames)
    numbers = [int((part + 0.5) * job.request.num_frames / count) for part in range(count)]
    return np.stack(list(_frames(job.video, job.request.frame_rate, numbers)))


def draw_gallery(rows: Sequence[Render], run: StageRun[RenderValidationConfig], checkpoint: Checkpoint) -> None:
    """Write `gallery.html` and `renders.png`, with the videos linked into `renders/` beside them."""
    if not rows:
        return
    prompts = prompt_rows(rows, run, run.out / "renders")
    facts: dict[str, Cell] = {
        "LoRA": checkpoint.sha256,
        "steps": checkpoint.step,
        "eval loss": checkpoint.eval_loss,
        "eval loss of the base": checkpoint.base_eval_loss,
    }
    page = run.out / "gallery.html"
    sections = [*_samples(page, run), Section("Renders", renders(prompts, page))]
    run_report(page, "Validation renders", facts, sections)
    sheet = [
        SheetRow(
            f"{row.prompt}  ({str(row.settings['mode']).partition(':')[0]}, seed {row.seed})",
            [render.poster for render in row.renders if render.poster is not None],
            [render.variant for render in row.renders],
        )
        for row in prompts
    ]
    contact_sheet(run.out / "renders.png", sheet, "Validation renders, middle frames")


def prompt_rows(rows: Sequence[Render], run: StageRun[RenderValidationConfig], folder: Path) -> list[PromptRow]:
    """Renders of one prompt and seed side by side, as pages show them; the videos are linked into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    model = run.shared.model
    runs = {own.name: in_numbers(own.over(run.config), model) for own in run.config.adapters}
    ordered = sorted(rows, key=lambda row: (*_request_of(row), *_place(row, list(runs))))
    prompts: list[PromptRow] = []
    with ThreadPoolExecutor(default_workers()) as threads:
        posters = dict(
            zip((row.render_key for row in ordered), threads.map(partial(_middle, run), ordered), strict=True)
        )
    for _, group in groupby(ordered, key=_request_of):
        rows_of_one = list(group)
        first = rows_of_one[0]
        renders = [_variant(row, run, runs, folder, posters, number=len(prompts)) for row in rows_of_one]
        renders += _control(first, run, folder, number=len(prompts))
        prompts.append(PromptRow(prompt=first.prompt, seed=first.seed, renders=renders, settings=_settings(first, run)))
    return prompts


def _place(row: Render, runs: Sequence[str]) -> tuple[int, int]:
    """From left to right: first without other adapters, and the base model before what is compared with it."""
    return (runs.index(row.adapters) if row.adapters else -1), VARIANTS.index(row.variant)


def _samples(page: Path, run: StageRun[RenderValidationConfig]) -> list[Section]:
    """The samples that training made on the way to this LoRA, linked into this stage's folder."""
    training = run.inputs["train_lora"].path.parent
    shutil.rmtree(run.out / SAMPLES, ignore_errors=True)
    return samples_over_steps(page, training, copies=run.out / SAMPLES)


def _request_of(row: Render) -> tuple[str, str, str, int]:
    return f"{row.mode} {row.conditions}", row.clip_id or row.given_file or "", row.prompt, row.seed


def _variant(
    row: Render,
    run: StageRun[RenderValidationConfig],
    runs: Mapping[str, SamplingConfig],
    folder: Path,
    posters: Mapping[str, np.ndarray],
    *,
    number: int,
) -> VariantRender:
    source = run.workspace.root / row.file
    name = f"{row.variant}-{row.adapters}" if row.adapters else row.variant
    video = folder / f"{number:02d}-seed{row.seed}-{name}.mp4"
    _link(source, video)
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
        poster=posters[row.render_key],
    )


def _link(source: Path, video: Path) -> None:
    video.unlink(missing_ok=True)
    os.link(source, video)  # the store and this folder are one file system, and gc counts on both names


def _control(row: Render, run: StageRun[RenderValidationConfig], folder: Path, *, number: int) -> list[VariantRender]:
    """The control video of a row's renders, to be shown beside them; none where they follow none."""
    if row.control is None or not (source := run.workspace.root / row.control).is_file():
        return []
    video = folder / f"{number:02d}-seed{row.seed}-control.mp4"
    _link(source, video)
    frames = np.stack(list(_frames(source, row.frame_rate, range(row.num_frames))))
    figures = Figures(sharpness=sharpness(frames), motion=motion(frames), loudness_db=SILENCE_DB)
    poster = frames[len(frames) // 2]
    return [VariantRender(variant="control", video=video, detail=source.name, figures=figures, poster=poster)]


def _middle(run: StageRun[RenderValidationConfig], row: Render) -> np.ndarray:
    (frame,) = _frames(run.workspace.root / row.file, row.frame_rate, [row.num_frames // 2])
    return frame


def _settings(row: Render, run: StageRun[RenderValidationConfig]) -> dict[str, str | int | float | None]:
    conditioning = {
        "i2v": "first frame of",
        "s2v": "audio of",
        "v2a": "audio for",
        "extend": "going on from the beginning of",
        "inpaint": "a region made anew in",
        "reference": "following",
        "composed": f"{row.conditions} of",
    }.get(row.mode)
    source = row.clip_id or Path(row.given_file or "").name
    return {
        "mode": f"{row.mode}: {conditioning} {source}" if conditioning else row.mode,
        "size": f"{row.width}x{row.height}",
        "frames": row.num_frames,
        "frames per second": row.frame_rate,
        "sampling": _sampled(in_numbers(run.config, run.shared.model)),
    }


def _sampled(sampling: SamplingConfig) -> str:
    return f"{sampling.num_steps} steps, guidance {sampling.video_cfg:g} video, {sampling.audio_cfg:g} audio"
