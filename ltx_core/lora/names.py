"""Which layers a LoRA changes, told from the layers' names alone. No torch."""

from collections.abc import Mapping, Sequence

from ltx_core.errors import ConfigError
from ltx_core.lora.layout import original_name

BLOCKS = "transformer_blocks."
PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
VIDEO_ATTENTIONS = ("attn1", "attn2")
AUDIO_ATTENTIONS = ("audio_attn1", "audio_attn2")
CROSS_ATTENTIONS = ("audio_to_video_attn", "video_to_audio_attn")
PRESETS: dict[str, tuple[str, ...]] = {
    "video": VIDEO_ATTENTIONS,
    "audio": AUDIO_ATTENTIONS,
    "audio+video": VIDEO_ATTENTIONS + AUDIO_ATTENTIONS + CROSS_ATTENTIONS,
}
CROSS_MODULATION = "av_cross_attn_"
"""Outside the blocks, what drives the attention between the streams."""


def target_layers(linear: Sequence[str], targets: str | Sequence[str], *, video_only: bool = False) -> list[str]:
    """Those of the linear layers named `linear` that `targets` means, sorted; as `target_modules` says.

    Raises:
        ConfigError: an unknown preset, or a target that matches no layer.
    """
    if video_only:
        linear = [name for name in linear if stream_of(name) == "video"]
    names = {name: (f".{name}", f".{original_name(name)}") for name in linear}
    suffixes = _suffixes(targets)
    found = {suffix: _ending(names, f".{suffix}") for suffix in suffixes}
    if empty := [suffix for suffix, layers in found.items() if not layers]:
        where = "the video stream's part of the transformer" if video_only else "the transformer"
        endings = sorted({name.split(".", 2)[2] if name.startswith(BLOCKS) else name for name in linear})
        raise ConfigError(f"targets {empty} match no layer in {where}; there are {endings}")
    return sorted({name for names in found.values() for name in names})


def _ending(names: Mapping[str, tuple[str, str]], end: str) -> list[str]:
    return [name for name, (own, original) in names.items() if own.endswith(end) or original.endswith(end)]


def stream_of(module: str) -> str:
    """Whose layer it is: `video`, `audio`, or `cross` for the attention between them."""
    part = module.split(".")[2 if module.startswith(BLOCKS) else 0]
    if part in CROSS_ATTENTIONS or part.startswith(CROSS_MODULATION):
        return "cross"
    return "audio" if part.startswith("audio_") else "video"


def _suffixes(targets: str | Sequence[str]) -> list[str]:
    if not isinstance(targets, str):
        return list(targets)
    if targets not in PRESETS:
        raise ConfigError(f"targets {targets!r} is no preset; give one of {sorted(PRESETS)} or a list of suffixes")
    return [f"{attention}.{projection}" for attention in PRESETS[targets] for projection in PROJECTIONS]
