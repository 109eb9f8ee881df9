"""The pipeline, in order. To add a stage: write tasks/stages/<name>.py with a STAGE, list it here and in RunConfig."""

from tasks.runtime.stage import Stage
from tasks.stages import (
    embed_frames,
    embed_text,
    encode_latents,
    probe,
    publish,
    register,
    render_validation,
    split,
    train_lora,
)

STAGES: tuple[Stage, ...] = (
    probe.STAGE,
    split.STAGE,
    embed_text.STAGE,
    encode_latents.STAGE,
    embed_frames.STAGE,
    train_lora.STAGE,
    render_validation.STAGE,
    register.STAGE,
    publish.STAGE,
)
