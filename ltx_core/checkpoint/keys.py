"""Names of tensors: Lightricks' files against diffusers' modules, as frozen tables that work both ways.

A table lists fragments of dotted names. A fragment matches whole segments only (`adaln_single` is not found in
`audio_adaln_single`), all fragments are replaced in one pass, and no two share a side, so each table inverts exactly.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import TypeVar

from ltx_core.errors import CheckpointError

T = TypeVar("T")
Fragments = tuple[tuple[str, str], ...]

COMPONENTS = ("transformer", "connectors", "text_projection", "video_vae", "audio_vae", "vocoder")

PREFIXES = {
    "transformer": "model.diffusion_model.",
    "connectors": "model.diffusion_model.",
    "text_projection": "text_embedding_projection.",
    "video_vae": "vae.",
    "diffusion_vae": "vae.",
    "audio_vae": "audio_vae.",
    "vocoder": "vocoder.",
}
"""The prefix of a component's tensors in Lightricks' files."""

CONNECTOR_PREFIXES = ("video_embeddings_connector.", "audio_embeddings_connector.")
"""Below the transformer's prefix; everything else there is the transformer."""

BARE_VIDEO_VAE = ("encoder.", "decoder.", "per_channel_statistics.")
"""The beginnings of a video VAE's tensors in a file of its own, where they have no prefix."""

UNUSED = {
    "video_vae": (
        "per_channel_statistics.channel",
        "per_channel_statistics.mean-of-stds",
        "per_channel_statistics.mean-of-stds_over_std-of-means",
    )
}
"""Statistics that released files carry and no code reads."""
PREVIEWS = re.compile(r"decoder\.(?:coarse_|type_emb\b|.*\.coarse_)")
"""Heads for previews in files with a diffusion decoder, which no decoding needs. Nothing else is ever left out."""

_NORMS: Fragments = (("q_norm", "norm_q"), ("k_norm", "norm_k"))

_STATISTICS: Fragments = (
    ("per_channel_statistics.mean-of-means", "latents_mean"),
    ("per_channel_statistics.std-of-means", "latents_std"),
)

_VIDEO_ENCODER: Fragments = (
    ("res_blocks", "resnets"),
    ("encoder.down_blocks.0", "encoder.down_blocks.0"),
    ("encoder.down_blocks.1", "encoder.down_blocks.0.downsamplers.0"),
    ("encoder.down_blocks.2", "encoder.down_blocks.1"),
    ("encoder.down_blocks.3", "encoder.down_blocks.1.downsamplers.0"),
    ("encoder.down_blocks.4", "encoder.down_blocks.2"),
    ("encoder.down_blocks.5", "encoder.down_blocks.2.downsamplers.0"),
    ("encoder.down_blocks.6", "encoder.down_blocks.3"),
    ("encoder.down_blocks.7", "encoder.down_blocks.3.downsamplers.0"),
    ("encoder.down_blocks.8", "encoder.mid_block"),
)

FRAGMENTS: dict[str, Fragments] = {
    "transformer": (
        ("patchify_proj", "proj_in"),
        ("audio_patchify_proj", "audio_proj_in"),
        ("adaln_single", "time_embed"),
        ("audio_adaln_single", "audio_time_embed"),
        ("prompt_adaln_single", "prompt_adaln"),
        ("audio_prompt_adaln_single", "audio_prompt_adaln"),
        ("av_ca_video_scale_shift_adaln_single", "av_cross_attn_video_scale_shift"),
        ("av_ca_audio_scale_shift_adaln_single", "av_cross_attn_audio_scale_shift"),
        ("av_ca_a2v_gate_adaln_single", "av_cross_attn_video_a2v_gate"),
        ("av_ca_v2a_gate_adaln_single", "av_cross_attn_audio_v2a_gate"),
        ("scale_shift_table_a2v_ca_video", "video_a2v_cross_attn_scale_shift_table"),
        ("scale_shift_table_a2v_ca_audio", "audio_a2v_cross_attn_scale_shift_table"),
        *_NORMS,
    ),
    "connectors": (
        ("video_embeddings_connector", "video_connector"),
        ("audio_embeddings_connector", "audio_connector"),
        ("transformer_1d_blocks", "transformer_blocks"),
        *_NORMS,
    ),
    "text_projection": (
        ("aggregate_embed", "text_proj_in"),
        ("video_aggregate_embed", "video_text_proj_in"),
        ("audio_aggregate_embed", "audio_text_proj_in"),
    ),
    "video_vae": (
        *_VIDEO_ENCODER,
        ("decoder.up_blocks.0", "decoder.mid_block"),
        ("decoder.up_blocks.1", "decoder.up_blocks.0.upsamplers.0"),
        ("decoder.up_blocks.2", "decoder.up_blocks.0"),
        ("decoder.up_blocks.3", "decoder.up_blocks.1.upsamplers.0"),
        ("decoder.up_blocks.4", "decoder.up_blocks.1"),
        ("decoder.up_blocks.5", "decoder.up_blocks.2.upsamplers.0"),
        ("decoder.up_blocks.6", "decoder.up_blocks.2"),
        ("decoder.up_blocks.7", "decoder.up_blocks.3.upsamplers.0"),
        ("decoder.up_blocks.8", "decoder.up_blocks.3"),
        *_STATISTICS,
    ),
    "diffusion_vae": (
        ("decoder", "decoder.decoder"),
        ("t_embedder.mlp.0", "t_embedder.timestep_embedder.linear_1"),
        ("t_embedder.mlp.2", "t_embedder.timestep_embedder.linear_2"),
        ("attn.proj", "attn.to_out.0"),
        *_NORMS,
        *_VIDEO_ENCODER,
        *_STATISTICS,
    ),
    "audio_vae": _STATISTICS,
    "vocoder": (
        ("ups", "upsamplers"),
        ("resblocks", "resnets"),
        ("conv_pre", "conv_in"),
        ("conv_post", "conv_out"),
        ("act_post", "act_out"),
        ("downsample.lowpass.filter", "downsample.filter"),
    ),
}


def to_original_keys(component: str, tensors: Mapping[str, T]) -> dict[str, T]:
    """A diffusers module's tensors under Lightricks' names; the inverse of `diffusers_name`.

    The text projections of diffusers' LTX2TextConnectors are a component of their own here, `text_projection`.

    Raises:
        CheckpointError: there is no such component, or a tensor is of another one.
    """
    if component == "connectors" and (stray := [name for name in tensors if "text_proj_in" in name]):
        raise CheckpointError(f"{stray[0]} is of the component text_projection, not of connectors; rename it there")
    pattern, names = _compiled(component, inverse=True)
    prefix = PREFIXES[component]
    return {prefix + pattern.sub(lambda match: names[match[0]], name): value for name, value in tensors.items()}


def diffusers_name(component: str, name: str) -> str:
    """The name in the diffusers module of one tensor of a combined file."""
    pattern, names = _compiled(component, inverse=False)
    return pattern.sub(lambda match: names[match[0]], name.removeprefix(PREFIXES[component]))


def combined_name(name: str, *, bare: bool) -> str:
    """The name in a combined file of one tensor of a pack's file; a video VAE's may come `bare`, without prefix."""
    return PREFIXES["video_vae"] + name if bare and name.startswith(BARE_VIDEO_VAE) else name


def belongs_to(component: str, name: str) -> bool:
    """True if a tensor of a combined file is used by the component."""
    if component not in PREFIXES:
        raise CheckpointError(f"{component!r} is no component; there are {', '.join(COMPONENTS)}")
    prefix = PREFIXES[component]
    if not name.startswith(prefix):
        return False
    rest = name.removeprefix(prefix)
    if component in ("transformer", "connectors"):
        return rest.startswith(CONNECTOR_PREFIXES) == (component == "connectors")
    return rest not in UNUSED.get(component, ()) and not (component == "video_vae" and PREVIEWS.match(rest))


@cache
def _compiled(component: str, inverse: bool) -> tuple[re.Pattern[str], dict[str, str]]:
    """One pattern for all fragments of a component, longest first, and what each becomes."""
    if component not in FRAGMENTS:
        raise CheckpointError(f"{component!r} is no component; there are {', '.join(COMPONENTS)}")
    names = {(new if inverse else old): (old if inverse else new) for old, new in FRAGMENTS[component]}
    fragments = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.compile(rf"(?<![^.])(?:{fragments})(?![^.])"), names
