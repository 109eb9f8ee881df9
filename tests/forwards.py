"""What a transformer is given, read where each part arrives: our forward calls its parts and not the whole."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

Seen = dict[str, torch.Tensor]
PARTS = {
    "hidden_states": "proj_in",
    "audio_hidden_states": "audio_proj_in",
    "timestep": "time_embed",
    "audio_timestep": "audio_time_embed",
    "audio_sigma": "av_cross_attn_video_a2v_gate",
    "sigma": "av_cross_attn_audio_v2a_gate",
    "video_coords": "rope",
    "audio_coords": "audio_rope",
}
"""By diffusers' name of the argument, the part that it reaches unchanged (sigmas: those of the other stream's gate)."""
BY_TOKEN = ("timestep", "audio_timestep")


@contextmanager
def watched(transformer: Any) -> Iterator[list[Seen]]:
    """The arguments of each forward, as diffusers names and scales them, in order."""
    forwards: list[Seen] = []
    current: Seen = {}

    def keep(name: str, value: torch.Tensor) -> None:
        current[name] = value

    def close(*_: object) -> None:
        batch = len(current["hidden_states"])
        whole = dict(current)
        for name in BY_TOKEN:
            times = whole[name].view(batch, -1)
            whole[name] = times[:, 0] if times.shape[1] == 1 else times
        moved = (whole["entering"] - whole["projected"]).detach().abs().sum(-1, keepdim=True)
        whole["video_keyframes_mask"] = (moved > 0).float()
        forwards.append(whole)
        current.clear()

    with ExitStack() as hooks:
        for name, part in PARTS.items():
            module = transformer.get_submodule(part)
            hook = module.register_forward_pre_hook(lambda _, inputs, name=name: keep(name, inputs[0]))
            hooks.callback(hook.remove)
        hooks.callback(transformer.proj_in.register_forward_hook(lambda _, __, out: keep("projected", out)).remove)
        first = transformer.transformer_blocks[0]
        hooks.callback(first.register_forward_pre_hook(lambda _, inputs: keep("entering", inputs[0])).remove)
        hooks.callback(transformer.audio_proj_out.register_forward_hook(close).remove)
        yield forwards
