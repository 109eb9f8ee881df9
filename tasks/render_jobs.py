"""Which renders a run wants, and where each lies in the pool."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datasets_spec import Checkpoint, Clip, Latent
from ltx_core.files.digest import text_digest
from ltx_core.sampling.guidance import Guidance, StreamGuidance
from ltx_core.sampling.request import Mode, RenderRequest
from ltx_core.shapes import floor_frames
from tasks.stage import Work

Variant = Literal["base", "candidate"]
JOB_VERSION = 1
"""Raise when the same request would give another mp4."""


@dataclass(frozen=True)
class RenderJob:
    """One render: what is asked, of which weights, and its files in the pool."""

    key: str
    variant: Variant
    request: RenderRequest
    clip: Clip | None
    lora: Path | None
    latents: Path
    video: Path

    @property
    def same_request(self) -> tuple[str, str | None, str, int]:
        """Equal for the base's and the candidate's render of one request."""
        return self.request.mode, self.clip.clip_id if self.clip else None, self.request.prompt, self.request.seed


def plan_jobs(work: Work, checkpoint: Checkpoint, weights: Mapping[str, str]) -> list[RenderJob]:
    """Every request, by the base model (if wanted) and by the LoRA."""
    pool, lora = work.workspace.pool / "renders", work.workspace.root / checkpoint.file
    variants: list[tuple[Variant, Path | None, str | None]] = [("candidate", lora, checkpoint.sha256)]
    if work.config.render_base:
        variants.insert(0, ("base", None, None))
    jobs = []
    for request, clip in _requests(work):
        for variant, file, digest in variants:
            key = text_digest(request.key(weights, digest), work.config.dtype, str(JOB_VERSION))
            paths = pool / f"{key}.safetensors", pool / f"{key}.mp4"
            jobs.append(RenderJob(key, variant, request, clip, file, *paths))
    return jobs


def _requests(work: Work) -> Iterator[tuple[RenderRequest, Clip | None]]:
    """Text to video for every prompt; the other modes for the first held-out clips, each with its own caption."""
    config = work.config
    frames = floor_frames(config.num_frames)
    if frames != config.num_frames:
        work.progress.note(f"num_frames {config.num_frames} becomes {frames}: the VAE takes 8k+1 frames")
    size = {"width": config.width, "height": config.height, "num_frames": frames, "frame_rate": config.frame_rate}
    modes: tuple[tuple[Mode, int], ...] = (("i2v", config.image_to_video_clips), ("s2v", config.sound_to_video_clips))
    for seed in config.seeds:
        for prompt in work.shared.prompts.validation:
            yield _request(work, prompt, seed, "t2v", None, size), None
        for mode, count in modes:
            for clip, latent in held_out(work, mode)[:count]:
                shape = {name: getattr(clip, name) for name in size}
                yield _request(work, clip.caption, seed, mode, latent.latent_key, shape), clip


def held_out(work: Work, mode: Mode) -> list[tuple[Clip, Latent]]:
    """Held-out clips that can condition a mode, in the order of their keys, which says nothing of their content."""
    clips: dict[str, Clip] = {clip.clip_id: clip for clip in work.inputs["split"]}
    rows: list[Latent] = [row for row in work.inputs["encode_latents"] if row.split == "eval"]
    usable = [row for row in rows if mode != "s2v" or row.has_audio_loss]
    return [(clips[row.clip_id], row) for row in sorted(usable, key=lambda row: row.clip_key)]


def _request(
    work: Work, prompt: str, seed: int, mode: Mode, conditioning_key: str | None, shape: Mapping[str, Any]
) -> RenderRequest:
    return RenderRequest(
        prompt=prompt,
        negative_prompt=work.shared.prompts.negative,
        seed=seed,
        mode=mode,
        conditioning_key=conditioning_key,
        num_steps=work.config.num_steps,
        schedule=work.config.schedule,
        guidance=_guidance(work.config),
        **shape,
    )


def _guidance(config: Any) -> Guidance:
    video, audio = (
        StreamGuidance(cfg=cfg, stg=config.stg, modality=config.modality, rescale=config.rescale)
        for cfg in (config.video_cfg, config.audio_cfg)
    )
    return Guidance(video=video, audio=audio, stg_blocks=config.stg_blocks)
