"""Which linear layers of the transformer a LoRA changes."""

from collections.abc import Sequence

import torch

from ltx_core.lora.names import target_layers


def target_modules(
    transformer: torch.nn.Module, targets: str | Sequence[str], *, video_only: bool = False
) -> list[str]:
    """Names of the linear layers that `targets` means, sorted.

    `targets` is a preset (`video`, `audio`, `audio+video`: the attention projections of those streams, the last with
    the attention between them) or suffixes of module names, matched at dots: `attn1.to_q` is video's alone, `to_q`
    every attention's. Names are diffusers' or Lightricks' (`proj_in` or `patchify_proj`). With `video_only`, layers
    that cannot work without the audio stream are not meant by a suffix.

    Raises:
        ConfigError: an unknown preset, or a target that matches no layer.
    """
    return target_layers(linear_layers(transformer), targets, video_only=video_only)


def linear_layers(transformer: torch.nn.Module) -> list[str]:
    """Names of linear layers, as they were before any adapter wrapped them."""
    names = {
        name.removesuffix(".base_layer")
        for name, module in transformer.named_modules()
        if isinstance(module, torch.nn.Linear) and ".lora_" not in name
    }
    return sorted(names)
