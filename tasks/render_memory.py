"""What rendering takes of the card, told in the plan; and the transformer, streamed where it would not fit."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ltx_core.engine.plan import usable_bytes
from ltx_core.engine.rendering import RenderMemory, described, render_memory
from ltx_core.shapes import PixelShape, floor_frames
from tasks.device import planned_card
from tasks.render_config import RenderValidationConfig
from tasks.shared import MemoryConfig, Shared
from tasks.stage import Inputs
from tasks.weights import open_weights

if TYPE_CHECKING:
    import torch

    from ltx_core.checkpoint.model import Checkpoint

ITEM_BYTES = {"bf16": 2, "fp32": 4}


def memory_lines(config: RenderValidationConfig, shared: Shared, _inputs: Inputs) -> Sequence[str]:
    """Of renders of the configured size; those of held-out clips are as large as the clips.

    Raises:
        OutOfMemory: they cannot fit the card that is planned for.
    """
    gpu_gib, prompts = planned_card(shared.memory), shared.prompts
    if gpu_gib is None or not (prompts.validation or prompts.pictures or prompts.sounds):
        return ()
    shape = PixelShape(floor_frames(config.num_frames), config.height, config.width)
    found = _needed(open_weights(shared.model).checkpoint, [shape], config.dtype)
    return (described(found, gpu_gib),)


def load_for_rendering(
    checkpoint: "Checkpoint",
    shapes: Iterable[PixelShape],
    *,
    device: str,
    dtype: "torch.dtype",
    budget_bytes: int | None,
) -> Any:
    """The frozen transformer: whole if it fits `budget_bytes` beside the largest of `shapes`, else streamed, to the bit
    the same. None: the device has no such bound.

    Raises:
        OutOfMemory: neither fits.
        CheckpointError: the weights are not those of a transformer.
    """
    from ltx_core.checkpoint.load import load_transformer
    from ltx_core.engine.load import load_denoiser
    from ltx_core.engine.options import EngineOptions

    needed = _needed(checkpoint, shapes, "fp32" if dtype.itemsize == ITEM_BYTES["fp32"] else "bf16")
    streamed = 0 if budget_bytes is None else needed.streamed_blocks(budget_bytes)
    if not streamed:
        return load_transformer(checkpoint, device=device, dtype=dtype)
    return load_denoiser(checkpoint, EngineOptions(streamed_blocks=streamed), device=device, dtype=dtype)


def render_budget(memory: MemoryConfig, device: str) -> int | None:
    """Bytes that rendering can have of the device now, at most those of the card that is planned for; None on a CPU."""
    import torch

    if device == "cpu":
        return None
    free = torch.cuda.mem_get_info()[0]
    return free if memory.gpu_gib is None else min(free, usable_bytes(memory.gpu_gib))


def _needed(checkpoint: "Checkpoint", shapes: Iterable[PixelShape], dtype: str) -> RenderMemory:
    tokens = max(shape.latent().tokens for shape in shapes)
    return render_memory(checkpoint.shapes("transformer"), tokens, ITEM_BYTES[dtype])
