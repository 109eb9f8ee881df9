"""Render the validation prompts with base and LoRA at the same seeds, decode them to mp4, and compare."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from datasets_spec import Render
from ltx_core.files.digest import DigestMemo, file_digest
from ltx_core.files.lock import folder_lock
from ltx_core.files.vouched import is_vouched
from ltx_core.progress import Progress, stop_if_asked
from ltx_core.scoring.clip_files import check_clip
from tasks.checkpoints import final_checkpoint
from tasks.loading import loading
from tasks.render_adapters import check_adapters, observed_adapters, pending_adapters, prepare_adapters
from tasks.render_config import RenderValidationConfig
from tasks.render_gallery import draw_gallery
from tasks.render_given import check_files, given_files
from tasks.render_jobs import RenderJob, plan_jobs
from tasks.render_measure import measured_row
from tasks.render_memory import memory_lines
from tasks.render_notices import render_notices
from tasks.render_score import clip_scores, observed_clip, pending_judge, prepare_judge
from tasks.shards import note_folder
from tasks.shared import Shared
from tasks.stage import Observed, Outcome, Stage
from tasks.stage_run import StageRun
from tasks.subjects import AUTOENCODERS, DECODING, TRANSFORMER
from tasks.weights import component_identities, encoder_identities

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ltx_core.checkpoint.pending import PendingFile

WEIGHTS = ("transformer", "connectors", "text_projection", "video_vae", "audio_vae", "vocoder")


def render_validation(run: StageRun) -> Outcome:
    """Two phases, so that the transformer is gone when the decoders come; a render once made is never made again."""
    with loading():
        from tasks.render_decode import decode_missing
        from tasks.render_sample import sample_missing

    checkpoint = final_checkpoint(run.inputs["train_lora"])
    jobs = plan_jobs(run, checkpoint, _weights(run.shared, run.memo))
    renders = run.workspace.pool / "renders"
    note_folder(run, renders)
    with folder_lock(renders, run.progress):  # by now a collection knows that they are in use
        missing = [job for job in jobs if run.force or not is_vouched(job.video)]
    sampled = sample_missing(missing, run, done=len(jobs) - len(missing))
    decode_missing(missing, run)
    rows = _rows(jobs, clip_scores(jobs, run), run)
    draw_gallery(rows, run, checkpoint)
    return Outcome(
        rows=rows,
        num_in=len(jobs),
        num_out=len(rows),
        computed=len(missing),
        reused=len(jobs) - len(missing),
        unit="renders",
        figures=_mean_figures(rows) | {"sampled": sampled},
    )


def _rows(jobs: "Iterable[RenderJob]", scores: Mapping[str, float], run: StageRun) -> list[Render]:
    base = {job.same_request: job.video for job in jobs if job.variant == "base"}
    rows = []
    for job in jobs:
        stop_if_asked(run.progress, "measuring renders")
        reference = base.get(job.same_request, job.video)
        row = measured_row(job, reference, run.workspace.relative(job.video), file_digest(job.video))
        rows.append(row.model_copy(update={"clip_score": scores.get(job.key)}))
    return rows


def _mean_figures(rows: list[Render]) -> dict[str, float]:
    """Of the LoRA's renders, with the base model's CLIP score beside theirs; of those without adapters, where there are
    any.
    """
    made, base = ([row for row in rows if row.variant == variant] for variant in ("candidate", "base"))
    made, base = ([row for row in found if not row.adapters] or found for found in (made, base))
    names = ("sharpness", "motion", "loudness_db", "difference_from_base")
    figures = {name: sum(getattr(row, name) for row in made) / len(made) for name in names} if made else {}
    for name, found in (("clip_score", made), ("clip_score_of_base", base)):
        scores = [row.clip_score for row in found if row.clip_score is not None]
        figures |= {name: sum(scores) / len(scores)} if scores else {}
    return figures


def _weights(shared: Shared, memo: DigestMemo) -> Mapping[str, str]:
    """Identity of all that shapes a render but the LoRA."""
    return component_identities(shared.model, memo, *WEIGHTS) | encoder_identities(shared.model, memo)


def observe(config: RenderValidationConfig, shared: Shared, memo: DigestMemo) -> Observed:
    """All weights, the prompts, and files of one's own: adapters, pictures, sounds, a mask."""
    weights: dict[str, Any] = dict(_weights(shared, memo))
    files = [[given.key, entry.prompt, entry.seed] for given, entry in given_files(config, shared, memo)]
    mask = None if config.inpaint_mask is None else memo.get(config.inpaint_mask)
    prompts = {"validation": shared.prompts.validation, "negative": shared.prompts.negative, "files": files}
    return (
        weights
        | {"prompts": prompts, "adapters": observed_adapters(config, memo), "inpaint_mask": mask}
        | {"clip_model": observed_clip(config, memo)}
    )


def check(config: RenderValidationConfig, shared: Shared) -> None:
    """Pictures, sounds, a mask, adapters and a judge of one's own are there and what they should be.

    Raises:
        LtxError: one is not; names it.
    """
    check_files(config, shared)
    check_adapters(config)
    if config.clip_model is not None:
        check_clip(config.clip_model)


def pending(config: RenderValidationConfig, _shared: Shared) -> "tuple[PendingFile, ...]":
    """Adapters and a judge that are not here.

    Raises:
        LtxError: one is not on the hub, or the hub cannot be asked.
    """
    return (*pending_adapters(config), *pending_judge(config))


def prepare(config: RenderValidationConfig, shared: Shared, progress: Progress) -> RenderValidationConfig:
    """Every adapter fits the transformer; those of the hub are downloaded and named by commit.

    Raises:
        LtxError: one does not; names it.
    """
    return prepare_judge(prepare_adapters(config, shared, progress), progress)


STAGE = Stage(
    name="render_validation",
    summary=__doc__,
    version=2,
    subjects=(DECODING, AUTOENCODERS, TRANSFORMER),
    config=RenderValidationConfig,
    needs=("train_lora", "embed_text", "encode_latents", "split"),
    makes=Render,
    run=render_validation,
    observe=observe,
    device="gpu",
    needs_weights=True,
    by_content=frozenset({"adapters", "inpaint_mask", "clip_model"}),
    check=check,
    pending=pending,
    prepare=prepare,
    not_in_key=frozenset({"streamed_blocks", "stream_from"}),
    notices=render_notices,
    memory=memory_lines,
    artifacts=("gallery.html", "renders.png", "renders/*.mp4"),
)
