"""The pipeline, in order. To add a stage: write tasks/<name>.py with a STAGE, add it here, add a field in RunConfig."""

from tasks import (
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
from tasks.stage import Stage

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
