"""The header's config as constructor arguments of diffusers' classes: transformer, connectors, audio parts.

Values that no tensor's shape shows (RoPE kind and precision, timestep multipliers, sampling rates) must be in the
header: guessing one gives a model that runs and is another. Defaults are Lightricks' own, for what their headers omit.

Lightricks lists residual and resampling blocks in turn. The decoder's list runs from pixels to latents, against the
order of execution, which is how diffusers wants layers, widths and factors, but not its upsampling kinds.
"""

import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ltx_core.checkpoint.diffusion_vae import DECODER, decoder_arguments, encoder_section, is_diffusion_vae
from ltx_core.errors import CheckpointError
from ltx_core.shapes import AUDIO_STRIDE, SPACE_STRIDE, TIME_STRIDE

Config = Mapping[str, Any]


def wanted(section: Config, key: str) -> Any:
    """A value that the header must give.

    Raises:
        CheckpointError: it does not.
    """
    if key not in section:
        raise CheckpointError(
            f"the header's config lacks {key!r} beside {', '.join(sorted(section))[:200]}; the model cannot be built "
            "without it. Give a checkpoint as Lightricks published it."
        )
    return section[key]


def transformer_arguments(config: Config) -> dict[str, Any]:
    """Arguments of LTX2VideoTransformer3DModel.

    `perturbed_attn` is always on: it adds no weights, and without it spatio-temporal guidance silently does nothing.
    """
    section = wanted(config, "transformer")
    audio = mel_section(config)
    gated, modulated = section.get("apply_gated_attention", False), section.get("cross_attention_adaln", False)
    frames, height, width = wanted(section, "positional_embedding_max_pos")
    return {
        **_widths(section),
        "audio_scale_factor": AUDIO_STRIDE,
        "audio_sampling_rate": wanted(audio["audio"], "sampling_rate"),
        "audio_hop_length": wanted(audio["stft"], "hop_length"),
        "pos_embed_max_pos": frames,
        "base_height": height,
        "base_width": width,
        "audio_pos_embed_max_pos": wanted(section, "audio_positional_embedding_max_pos")[0],
        "gated_attn": gated,
        "audio_gated_attn": gated,
        "cross_attn_mod": modulated,
        "audio_cross_attn_mod": modulated,
        "use_prompt_embeddings": not section.get("caption_proj_before_connector", False),
        "activation_fn": section.get("activation_fn", "gelu-approximate"),
        "qk_norm": "rms_norm_across_heads",
        "norm_elementwise_affine": section.get("norm_elementwise_affine", False),
        "norm_eps": section.get("norm_eps", 1e-6),
        "attention_bias": section.get("attention_bias", True),
        "attention_out_bias": section.get("attention_bias", True),
        "rope_theta": wanted(section, "positional_embedding_theta"),
        "rope_type": wanted(section, "rope_type"),
        "rope_double_precision": wanted(section, "frequencies_precision") == "float64",
        "timestep_scale_multiplier": wanted(section, "timestep_scale_multiplier"),
        "cross_attn_timestep_scale_multiplier": wanted(section, "av_ca_timestep_scale_multiplier"),
        "ff_bias": section.get("ff_bias", True),
        "audio_ff_bias": section.get("audio_ff_bias", True),
        "use_prompt_adaln_single": section.get("use_prompt_adaln_single", True),
        "use_keyframes_abs_pos_embedding": section.get("use_keyframes_abs_pos_embedding", False),
        "perturbed_attn": True,
    }


def _widths(section: Config) -> dict[str, Any]:
    heads = ("num_attention_heads", "attention_head_dim", "cross_attention_dim")
    names = ("num_layers", *heads, *(f"audio_{name}" for name in heads), "caption_channels", "in_channels")
    widths = {name: wanted(section, name) for name in names}
    widths["out_channels"] = section.get("out_channels", widths["in_channels"])
    widths["audio_in_channels"] = section.get("audio_in_channels", 128)
    widths["audio_out_channels"] = section.get("audio_out_channels", widths["audio_in_channels"])
    return widths


def connector_arguments(config: Config) -> dict[str, dict[str, Any]]:
    """Arguments of diffusers' LTX2ConnectorTransformer1d, for `video_connector` and `audio_connector`.

    2.0 runs both at the text encoder's width; later ones name the audio connector's heads apart.
    """
    section = wanted(config, "transformer")
    shared = {
        "num_learnable_registers": section.get("connector_num_learnable_registers", 128),
        "rope_base_seq_len": wanted(section, "connector_positional_embedding_max_pos")[0],
        "rope_double_precision": wanted(section, "frequencies_precision") == "float64",
        "rope_type": wanted(section, "rope_type"),
        "gated_attention": section.get("connector_apply_gated_attention", False),
    }
    per_stream = {
        "num_attention_heads": "connector_num_attention_heads",
        "attention_head_dim": "connector_attention_head_dim",
        "num_layers": "connector_num_layers",
    }
    video = {argument: wanted(section, key) for argument, key in per_stream.items()}
    audio = {argument: section.get(f"audio_{key}", video[argument]) for argument, key in per_stream.items()}
    return {"video_connector": {**shared, **video}, "audio_connector": {**shared, **audio}}


def mel_section(config: Config) -> Config:
    """The sections that describe the audio VAE's input: `audio`, `stft` and `mel`."""
    preprocessing: Config = wanted(wanted(config, "audio_vae"), "preprocessing")
    for key in ("audio", "stft", "mel"):
        wanted(preprocessing, key)
    return preprocessing


def audio_vae_arguments(config: Config) -> dict[str, Any]:
    """Arguments of AutoencoderKLLTX2Audio.

    Raises:
        CheckpointError: its statistics would not fit the packed tokens. diffusers sizes them by `base_channels`.
    """
    section = wanted(config, "audio_vae")
    model = wanted(wanted(section, "model"), "params")
    network = wanted(model, "ddconfig")
    stft = mel_section(config)["stft"]
    channels, latents, mel_bins = (wanted(network, key) for key in ("ch", "z_channels", "mel_bins"))
    if channels != latents * mel_bins // AUDIO_STRIDE:
        raise CheckpointError(
            f"the audio VAE has {channels} base channels and tokens of {latents} x {mel_bins // AUDIO_STRIDE}; they "
            "must be equally many, because its statistics are kept at the first and used at the second"
        )
    return {
        "base_channels": channels,
        "latent_channels": latents,
        "mel_bins": mel_bins,
        "output_channels": wanted(network, "out_ch"),
        "in_channels": wanted(network, "in_channels"),
        "ch_mult": tuple(wanted(network, "ch_mult")),
        "num_res_blocks": wanted(network, "num_res_blocks"),
        "attn_resolutions": tuple(network.get("attn_resolutions", ())) or None,
        "resolution": wanted(network, "resolution"),
        "norm_type": wanted(network, "norm_type"),
        "causality_axis": wanted(network, "causality_axis"),
        "dropout": network.get("dropout", 0.0),
        "mid_block_add_attention": network.get("mid_block_add_attention", False),
        "double_z": network.get("double_z", True),
        "sample_rate": wanted(model, "sampling_rate"),
        "mel_hop_length": wanted(stft, "hop_length"),
        "is_causal": stft.get("causal", True),
    }


def vocoder_arguments(config: Config) -> dict[str, Any]:
    """Arguments of LTX2Vocoder (2.0) or, where there is a bandwidth extension, of LTX2VocoderWithBWE.

    The first stage of the latter ends in a clamp to [-1, 1] in Lightricks' inference; diffusers' own conversion leaves
    it out, which is audible where it is loud.
    """
    section = wanted(config, "vocoder")
    mel = mel_section(config)
    mel_bins = wanted(mel["mel"], "n_mel_channels")
    if "bwe" not in section:
        frames_a_second = mel["audio"]["sampling_rate"] // mel["stft"]["hop_length"]
        rate = frames_a_second * math.prod(wanted(section, "upsample_rates"))
        return {**_vocoder_stage(section, mel_bins), "output_sampling_rate": rate}
    extension = section["bwe"]
    second = _vocoder_stage(extension, wanted(extension, "num_mels"))
    return {
        **_vocoder_stage(wanted(section, "vocoder"), mel_bins),
        **{f"bwe_{name}": value for name, value in second.items()},
        "filter_length": wanted(extension, "n_fft"),
        "window_length": extension.get("win_size", extension["n_fft"]),
        "hop_length": wanted(extension, "hop_length"),
        "num_mel_channels": wanted(extension, "num_mels"),
        "input_sampling_rate": wanted(extension, "input_sampling_rate"),
        "output_sampling_rate": wanted(extension, "output_sampling_rate"),
    }


def _vocoder_stage(section: Config, mel_bins: int) -> dict[str, Any]:
    channels = 2 if section.get("stereo", True) else 1
    antialiased = wanted(section, "resblock") == "AMP1"
    final = "tanh" if section.get("use_tanh_at_final", True) else "clamp"
    return {
        "in_channels": channels * mel_bins,
        "out_channels": channels,
        "hidden_channels": wanted(section, "upsample_initial_channel"),
        "upsample_kernel_sizes": wanted(section, "upsample_kernel_sizes"),
        "upsample_factors": wanted(section, "upsample_rates"),
        "resnet_kernel_sizes": wanted(section, "resblock_kernel_sizes"),
        "resnet_dilations": wanted(section, "resblock_dilation_sizes"),
        "act_fn": section.get("activation", "snake") if antialiased else "leaky_relu",
        "antialias": antialiased,
        "final_act_fn": final if section.get("apply_final_activation", True) else None,
        "final_bias": section.get("use_bias_at_final", True),
    }


KINDS = {"compress_space": "spatial", "compress_time": "temporal", "compress_all": "spatiotemporal"}
"""Lightricks' names of resampling blocks and diffusers'."""


class Resampling(NamedTuple):
    """One block that changes resolution."""

    kind: str
    multiplier: int
    residual: bool


class Blocks(NamedTuple):
    """A block list, taken apart."""

    layers: tuple[int, ...]
    inject_noise: tuple[bool, ...]
    resampling: tuple[Resampling, ...]


def video_vae_arguments(config: Config) -> dict[str, Any]:
    """Arguments of AutoencoderKLLTX2Video; where the VAE has a diffusion decoder those of its encoder, and beside them,
    as `diffusion_decoder`, the arguments of LTX2VideoDiffusionDecoderModel.

    Without `spatial_padding_mode` (2.0) the encoder pads with zeros and the decoder by reflection.

    Raises:
        CheckpointError: a block or a compression that these classes do not know.
    """
    section = wanted(config, "vae")
    if is_diffusion_vae(config):
        own = encoder_section(section)
        made = decoder_arguments(section)
        return _encoder_arguments(own, own["padding"]) | {"out_channels": made["out_channels"], DECODER: made}
    decoder = _blocks(wanted(section, "decoder_blocks"), "")
    padding = section.get("spatial_padding_mode")
    return _encoder_arguments(section, padding or "zeros") | {
        "out_channels": section.get("out_channels", 3),
        "timestep_conditioning": section.get("timestep_conditioning", False),
        "decoder_causal": section.get("causal_decoder", False),
        "decoder_spatial_padding_mode": padding or "reflect",
        "decoder_block_out_channels": _video_widths(wanted(section, "decoder_base_channels"), decoder),
        "decoder_layers_per_block": decoder.layers,
        "decoder_spatio_temporal_scaling": (True,) * len(decoder.resampling),
        "decoder_inject_noise": decoder.inject_noise,
        "upsample_type": tuple(block.kind for block in reversed(decoder.resampling)),
        "upsample_residual": tuple(block.residual for block in decoder.resampling),
        "upsample_factor": tuple(block.multiplier for block in decoder.resampling),
    }


def _encoder_arguments(section: Config, padding: str) -> dict[str, Any]:
    """Arguments of the encoder, and of what both halves share."""
    encoder = _blocks(wanted(section, "encoder_blocks"), "_res")
    patch = wanted(section, "patch_size")
    _check(section, encoder, patch)
    return {
        "in_channels": section.get("in_channels", 3),
        "latent_channels": wanted(section, "latent_channels"),
        "patch_size": patch,
        "patch_size_t": 1,
        "scaling_factor": section.get("scaling_factor", 1.0),
        "encoder_causal": True,
        "encoder_spatial_padding_mode": padding,
        "spatial_compression_ratio": SPACE_STRIDE,
        "temporal_compression_ratio": TIME_STRIDE,
        "down_block_types": ("LTX2VideoDownBlock3D",) * len(encoder.resampling),
        "block_out_channels": _video_widths(wanted(section, "encoder_base_channels"), encoder),
        "layers_per_block": encoder.layers,
        "spatio_temporal_scaling": (True,) * len(encoder.resampling),
        "downsample_type": tuple(block.kind for block in encoder.resampling),
    }


def _blocks(listed: list[tuple[str, Mapping[str, Any]]], suffix: str) -> Blocks:
    residual, resampling = listed[::2], listed[1::2]
    kinds = {name + suffix: kind for name, kind in KINDS.items()}
    unknown = [name for name, _ in residual if name != "res_x"] + [name for name, _ in resampling if name not in kinds]
    if unknown or len(residual) != len(resampling) + 1:
        raise CheckpointError(
            f"the video VAE's blocks are {[name for name, _ in listed]}; res_x and one of {', '.join(kinds)} in turn "
            "are wanted. Give a VAE that Lightricks published for LTX-2."
        )
    return Blocks(
        layers=tuple(block["num_layers"] for _, block in residual),
        inject_noise=tuple(bool(block.get("inject_noise", False)) for _, block in residual),
        resampling=tuple(
            Resampling(kinds[name], block.get("multiplier", 1), bool(block.get("residual", False)))
            for name, block in resampling
        ),
    )


def _video_widths(base: int, blocks: Blocks) -> tuple[int, ...]:
    """Widths after each resampling block, counted from the pixels' side."""
    return tuple(itertools.accumulate((block.multiplier for block in blocks.resampling), int.__mul__, initial=base))[1:]


def _check(section: Config, encoder: Blocks, patch: int) -> None:
    space = patch * math.prod(2 for block in encoder.resampling if block.kind != "temporal")
    time = math.prod(2 for block in encoder.resampling if block.kind != "spatial")
    if (space, time) != (SPACE_STRIDE, TIME_STRIDE):
        raise CheckpointError(
            f"the video VAE compresses {space}x in space and {time}x in time; this trainer is made for {SPACE_STRIDE}x "
            f"and {TIME_STRIDE}x"
        )
    if (
        section.get("norm_layer", "pixel_norm") != "pixel_norm"
        or section["encoder_base_channels"] != section["latent_channels"]
    ):
        raise CheckpointError(
            f"the video VAE has norm {section.get('norm_layer')} and {section['encoder_base_channels']} base channels "
            f"over {section['latent_channels']} latent channels; pixel_norm and equal numbers are wanted"
        )
