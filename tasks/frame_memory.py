"""What the vision encoder takes of a GPU, told before anything is computed. No torch."""

from collections.abc import Sequence
from typing import Any

from ltx_core.engine.footprint import GIB
from tasks.device import planned_card
from tasks.frame_encoder import opened_encoder
from tasks.shared import Shared
from tasks.stage import Inputs
from tasks.workspace import Workspace

KEPT_WIDTHS = 16
"""Values of a token in a layer at its fullest, in model widths: itself, its norm, query, key, value, result, and the
two halves of the feed-forward."""


def memory_lines(config: Any, shared: Shared, _inputs: Inputs, _workspace: Workspace) -> Sequence[str]:
    """For people, by arithmetic: weights, and one layer's work on the frames that are computed at once."""
    gpu_gib = planned_card(shared.memory)
    if gpu_gib is None:
        return ()
    encoder = opened_encoder(config.encoder)
    item_bytes = 4 if config.dtype == "fp32" else 2
    tokens = (config.image_size // encoder.patch_size) ** 2 + 1
    work = config.frames_at_once * tokens * encoder.width * KEPT_WIDTHS * item_bytes
    needed = (encoder.num_weights * item_bytes + work) / GIB
    fits = "it fits" if needed < gpu_gib else "it does not fit; lower embed_frames.frames_at_once"
    return (f"{gpu_gib:g} GiB card: the frame encoder takes about {needed:.1f} GiB; {fits}",)
