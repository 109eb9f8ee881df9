"""From features to what the transformer attends to: learned registers in the padding, then the connectors."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers.pipelines.ltx2.connectors import LTX2ConnectorTransformer1d

from ltx_core.errors import ShapeError
from ltx_core.text.gemma import MAX_TOKENS

STREAMS = (("video_connector", "video_features"), ("audio_connector", "audio_features"))


@torch.no_grad()
def text_contexts(
    connectors: torch.nn.ModuleDict, features: Sequence[Mapping[str, torch.Tensor]], *, length: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Video context [B, S, Dv] and audio context [B, S, Da], S = `length` or 1024, every position valid.

    Each caption's features go to the front; registers, indexed by position, fill the rest and take part in attention.
    Captions run one by one, so that a context does not depend on its batch.

    Raises:
        ShapeError: a caption is longer than `length`, or `length` is no multiple of the number of registers.
    """
    length = length or MAX_TOKENS
    contexts = []
    for connector, name in STREAMS:
        module: Any = connectors[connector]
        captions = [sample.get("features", sample.get(name)) for sample in features]
        contexts.append(torch.cat([_context(module, caption, length, name) for caption in captions]))
    return contexts[0], contexts[1]


def _context(
    connector: LTX2ConnectorTransformer1d, features: torch.Tensor | None, length: int, name: str
) -> torch.Tensor:
    if features is None:
        raise ShapeError(f"a caption has neither features nor {name}; embed it with this checkpoint's projection")
    registers = connector.learnable_registers
    if not len(features) <= length or length % len(registers):
        raise ShapeError(
            f"a caption of {len(features)} tokens at length {length} with {len(registers)} registers; the length must "
            "be at least the caption's and a multiple of the registers"
        )
    padded = registers.new_zeros(1, length, features.shape[1])
    padded[0, : len(features)] = features
    mask = registers.new_zeros(1, 1, 1, length)
    mask[..., len(features) :] = torch.finfo(mask.dtype).min
    return connector(padded, mask)[0]
