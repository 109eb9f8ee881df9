"""What Lightricks ships for the release of the model that renders. No torch."""

from ltx_core.sampling.official import Official, official
from tasks.render_config import RenderValidationConfig
from tasks.sampling_config import SamplingConfig
from tasks.shared import ModelConfig, Shared
from tasks.weights import open_weights


def shipped(model: ModelConfig) -> Official:
    """The settings of the checkpoint's release.

    Raises:
        LtxError: as for `open_weights`.
    """
    checkpoint = open_weights(model).checkpoint
    blocks = {name.split(".")[1] for name in checkpoint.shapes("transformer") if name.startswith("transformer_blocks.")}
    return official(checkpoint.generation, checkpoint.model_version, len(blocks))


def in_numbers(sampling: SamplingConfig, model: ModelConfig) -> SamplingConfig:
    """The same with the release's own numbers, where they are official.

    Raises:
        LtxError: as for `open_weights`.
    """
    if sampling.guidance != "official":
        return sampling
    found = shipped(model)
    video, audio = found.guidance.video, found.guidance.audio
    return SamplingConfig(
        num_steps=found.num_steps,
        video_cfg=video.cfg,
        audio_cfg=audio.cfg,
        stg=video.stg,
        stg_blocks=found.guidance.stg_blocks,
        modality=video.modality,
        rescale=video.rescale,
    )


def picture_crf(config: RenderValidationConfig, shared: Shared) -> int:
    """What given pictures are compressed at; 0: they are not."""
    return shipped(shared.model).picture_crf if config.picture_crf == "official" else config.picture_crf
