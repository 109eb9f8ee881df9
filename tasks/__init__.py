"""The stages of the pipeline, in order. README.md says under "Add a stage" how to add one."""

from typing import Any

from ltx_core.errors import ConfigError
from tasks.runtime.stage import Stage
from tasks.stages.caption import CaptionClips
from tasks.stages.embed_frames import EmbedFrames
from tasks.stages.embed_text import EmbedText
from tasks.stages.encode_latents import EncodeLatents
from tasks.stages.probe import Probe
from tasks.stages.publish import Publish
from tasks.stages.register import Register
from tasks.stages.render_validation import RenderValidation
from tasks.stages.split import Split
from tasks.stages.train_lora import TrainLora

STAGES: tuple[Stage[Any, Any], ...] = (
    Probe(),
    Split(),
    CaptionClips(),
    EmbedText(),
    EncodeLatents(),
    EmbedFrames(),
    TrainLora(),
    RenderValidation(),
    Register(),
    Publish(),
)


def stage_named(name: str) -> Stage[Any, Any]:
    """The stage of that name.

    Raises:
        ConfigError: there is none.
    """
    for stage in STAGES:
        if stage.name == name:
            return stage
    raise ConfigError(f"there is no stage {name!r}; the stages are {', '.join(s.name for s in STAGES)}")
