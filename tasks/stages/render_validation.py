"""Render the validation prompts with the base model and the LoRA at equal seeds, write MP4 files, and compare."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from datasets_spec import Render
from ltx_core.checkpoint.keys import COMPONENTS
from ltx_core.io.digest import is_vouched
from ltx_core.io.lock import folder_lock
from ltx_core.shapes import floor_frames
from ltx_core.text.motion import says_motion, says_still
from ltx_core.vision.folder import check_clip
from tasks.runtime.device import loading
from tasks.runtime.shared import Shared
from tasks.runtime.stage import AUTOENCODERS, DECODING, TRANSFORMER, Observed, Outcome, Stage, StageRun
from tasks.runtime.weights import component_identities
from tasks.stages.parts.encode_missing import note_folder
from tasks.stages.render.adapters import (
    check_adapters,
    observed_adapters,
    observed_upscaling,
    pending_adapters,
    prepare_adapters,
)
from tasks.stages.render.conditioning import conditioning_files
from tasks.stages.render.config import RenderValidationConfig, SamplingConfig
from tasks.stages.render.finishing import finished_rows
from tasks.stages.render.jobs import final_checkpoint, plan_jobs
from tasks.stages.render.memory import one_stage_clips, render_memory_lines
from tasks.stages.render.own_files import check_files, small_frames
from tasks.stages.render.references import write_controls
from tasks.stages.render.results import (
    clip_scores,
    draw_gallery,
    observed_clip,
    pending_judge,
    prepare_judge,
)

if TYPE_CHECKING:
    from ltx_core.hub.repository import PendingFile


WEIGHTS = (*COMPONENTS, "text_encoder", "tokenizer")


class RenderValidation(Stage[RenderValidationConfig, Render]):
    """Renders are decoded beside the transformer, or in a second phase where both do not fit; none is made twice."""

    name = "render_validation"
    items = "renders/*.mp4"
    config = RenderValidationConfig
    needs = ("train_lora", "embed_text", "encode_latents", "split")
    makes = Render
    version = 3
    subjects = (DECODING, AUTOENCODERS, TRANSFORMER)
    device = "gpu"
    imports = ("torch", "tasks.stages.render.phases")
    num_spares = 2
    needs_weights = True
    not_in_key = frozenset({"offloaded_blocks", "offload_to"})
    by_content = frozenset({"adapters", "upscaling", "inpaint_mask", "clip_model"})
    artifacts = ("gallery.html", "renders.png", "renders/*.mp4", "samples/*/*.mp4")

    def check(self, run: StageRun[RenderValidationConfig]) -> None:
        """Images, audio files, a mask, adapters and a CLIP model of one's own are there and what they should be.

        Raises:
            LtxError: one is not; names it.
        """
        check_files(run.config, run.shared)
        check_adapters(run.config)
        if run.config.clip_model is not None:
            check_clip(run.config.clip_model)

    def downloads(self, run: StageRun[RenderValidationConfig]) -> "tuple[PendingFile, ...]":
        """Adapters and a CLIP model that are not here."""
        return (*pending_adapters(run.config), *pending_judge(run.config))

    def prepare(self, run: StageRun[RenderValidationConfig]) -> RenderValidationConfig:
        """Every adapter fits the transformer; those of the hub are downloaded and named by commit."""
        return prepare_judge(prepare_adapters(run.config, run.shared, run.progress), run.progress)

    def observe(self, run: StageRun[RenderValidationConfig]) -> Observed:
        """All weights, the prompts, and files of one's own: adapters, images, audio, a mask."""
        config, prompts, memo = run.config, run.shared.prompts, run.memo
        files = [
            [source.key, entry.prompt, entry.seed] for source, entry in conditioning_files(config, run.shared, memo)
        ]
        return weights(run) | {
            "prompts": {"validation": prompts.validation, "negative": prompts.negative, "files": files},
            "adapters": observed_adapters(config, memo),
            "inpaint_mask": None if config.inpaint_mask is None else memo.get(config.inpaint_mask),
            "clip_model": observed_clip(config, memo),
            **observed_upscaling(config, memo),
        }

    def memory(self, run: StageRun[RenderValidationConfig]) -> Sequence[str]:
        """Memory that both phases take of the GPU that is planned for."""
        return render_memory_lines(run.config, run.shared, run.inputs)

    def warnings(self, run: StageRun[RenderValidationConfig]) -> Sequence[str]:
        """Guidance of each run, numbers of frames that the VAE does not have, other frame rates than the footage's,
        prompts without motion, images that are too small."""
        config, shared = run.config, run.shared
        found = []
        if config.render_without_adapters:
            found += _guidance("render_validation", config)
        for own in config.adapters:
            found += _guidance(f"render_validation.adapters {own.name}", own.over(config))
        frames = floor_frames(config.num_frames)
        if frames != config.num_frames:
            found.append(
                f"render_validation.num_frames {config.num_frames} becomes {frames}: the VAE takes 8k+1 frames"
            )
        found += one_stage_clips(config, shared, run.inputs)
        return [*found, *_rates(config, shared), *_still(shared), *small_frames(config, shared)]

    def run(self, run: StageRun[RenderValidationConfig]) -> Outcome:
        """A render of each request by the base model and the LoRA, with its figures."""
        with loading():
            from tasks.stages.render.phases import rendered, unsampled

        checkpoint = final_checkpoint(run.inputs["train_lora"])
        jobs = plan_jobs(run, checkpoint, weights(run))
        renders = run.workspace.store / "renders"
        note_folder(run, renders)
        with folder_lock(renders, run.progress):  # by now a collection knows that they are in use
            missing = [job for job in jobs if run.force or not is_vouched(job.video)]
        todo = unsampled(missing, run)
        made = rendered(missing, todo, run, done=len(jobs) - len(missing))
        rows = finished_rows(jobs, missing, made, run)
        scores = clip_scores(jobs, run)
        controls = write_controls(jobs, run)
        more = {key: {"clip_score": scores.get(key), "control": controls.get(key)} for key in (job.key for job in jobs)}
        rows = [row.model_copy(update=more[row.render_key]) for row in rows]
        draw_gallery(rows, run, checkpoint)
        return Outcome(
            rows=rows,
            num_in=len(jobs),
            num_out=len(rows),
            computed=len(missing),
            unit="renders",
            figures=_mean_figures(rows) | {"sampled": len(todo)},
        )


def weights(run: StageRun[RenderValidationConfig]) -> dict[str, Any]:
    """Identity of all that shapes a render but the LoRA."""
    return dict(component_identities(run.shared.model, run.memo, *WEIGHTS))


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


USUAL_GUIDANCE = (2.0, 6.0)
"""Below it renders tend to be noise or to ignore the prompt, above it to be black or burnt."""


def _rates(config: RenderValidationConfig, shared: Shared) -> Iterator[str]:
    for dataset in shared.datasets:
        rate = dataset.video.frame_rate
        if dataset.dataset_type == "video" and rate not in ("native", config.frame_rate):
            yield (
                f"dataset {dataset.id} has {rate:g} frames a second and render_validation "
                f"{config.frame_rate:g}: motion may jitter at a rate that was not trained; make them equal"
            )


def _still(shared: Shared) -> Iterator[str]:
    still = [prompt for prompt in shared.prompts.validation if not says_motion(prompt) and not says_still(prompt)]
    if still:
        yield (
            f"hint: {len(still)} of {len(shared.prompts.validation)} prompts seem to name no motion, such as "
            f"{still[0][:60]!r}; renders of a prompt that says what moves stand still less often"
        )


def _guidance(where: str, sampling: SamplingConfig) -> list[str]:
    low, high = USUAL_GUIDANCE
    if sampling.schedule == "distilled":
        if sampling.video_cfg == 1:
            return []
        return [f"{where}: video_cfg is {sampling.video_cfg:g} with the distilled schedule, which is meant for 1"]
    if low <= sampling.video_cfg <= high:
        return []
    return [
        f"{where}: video_cfg is {sampling.video_cfg:g}; outside {low:g} to {high:g} renders are often black or noise "
        f"whatever was trained (1 is meant for the distilled schedule)"
    ]
