"""The texts that renders follow, as the transformer is given them."""

from collections.abc import Sequence
from typing import Any

import torch

from ltx_core.conditioning.kinds import Text
from ltx_core.sampling.sampler import Prompts
from ltx_core.text.contexts import text_contexts
from ltx_core.training.samples import StoreSource
from tasks.runtime.stage import StageRun
from tasks.stages.render.config import RenderValidationConfig
from tasks.stages.render.jobs import RenderJob


def alone(prompts: Prompts) -> Prompts:
    """The same for a render without an unconditional pass."""
    return Prompts(prompts.positive)


@torch.no_grad()
def encoded_prompts(
    jobs: Sequence[RenderJob], run: StageRun[RenderValidationConfig], source: StoreSource, connectors: Any, device: str
) -> dict[str, Prompts]:
    """Contexts of each prompt, with those of the negative prompt."""

    def contexts(text: str) -> Text:
        features = {name: tensor.to(device) for name, tensor in source.text(text).items()}
        return Text(*text_contexts(connectors, [features]))

    negative = contexts(run.shared.prompts.negative)
    return {text: Prompts(contexts(text), negative) for text in {job.request.prompt for job in jobs}}
