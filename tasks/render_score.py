"""CLIP scores of renders, kept by what was seen, what was asked for, and who judged."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ltx_core.files.digest import DigestMemo, file_digest, text_digest
from ltx_core.media.frames import decode_frames
from ltx_core.pool.items import ItemStore
from ltx_core.progress import Progress, stop_if_asked
from ltx_core.scoring.clip_files import clip_identity, locate_clip, pending_clip
from tasks.device import prepare_device
from tasks.render_config import RenderValidationConfig
from tasks.render_jobs import RenderJob
from tasks.stage_run import StageRun

if TYPE_CHECKING:
    from ltx_core.checkpoint.pending import PendingFile
    from ltx_core.scoring.clip_score import ClipScorer

NUM_FRAMES = 8
"""Frames of a render that are scored, at equal distances."""


def clip_scores(jobs: Sequence[RenderJob], run: StageRun) -> Mapping[str, float]:
    """Score of each render by its key; empty where none is asked for. A render once scored is not scored again."""
    if run.config.clip_model is None:
        return {}
    from ltx_core.scoring.clip_score import clip_score

    folder, store = Path(run.config.clip_model), ItemStore(run.workspace.pool / "clip_scores", run.progress)
    judge = text_digest(clip_identity(folder, run.memo), run.version, str(NUM_FRAMES))
    scores: dict[str, float] = {}
    scorer: ClipScorer | None = None
    for number, job in enumerate(jobs):
        stop_if_asked(run.progress, "scoring renders")
        key = text_digest(judge, file_digest(job.video), job.request.prompt)
        known = None if run.force else store.get(key)
        if known is None:
            scorer = scorer or _loaded(folder, run)
            known = clip_score(scorer, _frames(job), job.request.prompt)
            store.put(key, known)
        scores[job.key] = known
        run.progress.advance(number + 1, len(jobs), "renders scored")
    return scores


def observed_clip(config: RenderValidationConfig, memo: DigestMemo) -> str | None:
    """The judge, by content."""
    return None if config.clip_model is None else clip_identity(Path(config.clip_model), memo)


def pending_judge(config: RenderValidationConfig) -> "tuple[PendingFile, ...]":
    """What would have to be downloaded.

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


def _loaded(folder: Path, run: StageRun) -> "ClipScorer":
    from ltx_core.scoring.clip_score import load_clip

    scorer = load_clip(folder, prepare_device(run.shared.memory))
    run.memo.check()
    return scorer


def _frames(job: RenderJob) -> np.ndarray:
    """uint8 [F, H, W, 3] of the mp4 that people will see, the middle one of each part; each frame at most once."""
    count = min(NUM_FRAMES, job.request.num_frames)
    numbers = [int((part + 0.5) * job.request.num_frames / count) for part in range(count)]
    return np.stack(list(decode_frames(job.video, [(n + 0.25) / job.request.frame_rate for n in numbers])))
