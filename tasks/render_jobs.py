"""Which renders a run wants, and where each lies in the pool."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datasets_spec import Checkpoint
from ltx_core.files.digest import text_digest
from ltx_core.sampling.guidance import Guidance, StreamGuidance
from ltx_core.sampling.request import RenderRequest
from ltx_core.shapes import floor_frames
from tasks.stage import Work


@dataclass(frozen=True)
class RenderJob:
    """One render: what is asked, of which weights, and its files in the pool."""

    key: str
    variant: Literal["base", "candidate"]
    request: RenderRequest
    lora: Path | None
    latents: Path
    video: Path


def plan_jobs(work: Work, checkpoint: Checkpoint, weights: Mapping[str, str]) -> list[RenderJob]:
    """Every prompt and seed, for the base model (if wanted) and for the LoRA."""
    config, pool = work.config, work.workspace.pool / "renders"
    lora = work.workspace.root / checkpoint.file
    variants: list[tuple[Literal["base", "candidate"], Path | None, str | None]] = [
        ("candidate", lora, checkpoint.sha256)
    ]
    if config.render_base:
        variants.insert(0, ("base", None, None))
    jobs = []
    for prompt in work.shared.prompts.validation:
        for seed in config.seeds:
            request = _request(work, prompt, seed)
            for variant, file, digest in variants:
                key = text_digest(request.key(weights, digest), config.dtype)
                jobs.append(RenderJob(key, variant, request, file, pool / f"{key}.safetensors", pool / f"{key}.mp4"))
    return jobs


def _request(work: Work, prompt: str, seed: int) -> RenderRequest:
    config = work.config
    frames = floor_frames(config.num_frames)
    if frames != config.num_frames:
        work.progress.note(f"num_frames {config.num_frames} becomes {frames}: the VAE takes 8k+1 frames")
    return RenderRequest(
        prompt=prompt,
        negative_prompt=work.shared.prompts.negative,
        seed=seed,
        width=config.width,
        height=config.height,
        num_frames=frames,
        frame_rate=config.frame_rate,
        num_steps=config.num_steps,
        schedule=config.schedule,
        guidance=Guidance(
            video=StreamGuidance(cfg=config.video_cfg, rescale=config.rescale),
            audio=StreamGuidance(cfg=config.audio_cfg, rescale=config.rescale),
        ),
    )
