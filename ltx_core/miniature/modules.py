"""The miniature's modules, built from diffusers' own classes at the sizes of the header."""

from typing import Any

from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video, LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder, LTX2VocoderWithBWE

from ltx_core.miniature import header
from ltx_core.miniature.header import Generation


def build_transformer(generation: Generation) -> LTX2VideoTransformer3DModel:
    """The two-stream transformer."""
    since_2_3 = generation != "2.0"
    return LTX2VideoTransformer3DModel(
        num_layers=header.LAYERS,
        in_channels=header.VIDEO_CHANNELS,
        out_channels=header.VIDEO_CHANNELS,
        num_attention_heads=header.HEADS,
        attention_head_dim=header.VIDEO_HEAD_WIDTH,
        cross_attention_dim=header.VIDEO_WIDTH,
        audio_in_channels=header.AUDIO_TOKEN_WIDTH,
        audio_out_channels=header.AUDIO_TOKEN_WIDTH,
        audio_num_attention_heads=header.HEADS,
        audio_attention_head_dim=header.AUDIO_HEAD_WIDTH,
        audio_cross_attention_dim=header.AUDIO_WIDTH,
        caption_channels=header.TEXT_WIDTH,
        rope_type="split",
        gated_attn=since_2_3,
        audio_gated_attn=since_2_3,
        cross_attn_mod=since_2_3,
        audio_cross_attn_mod=since_2_3,
        use_prompt_embeddings=not since_2_3,
        perturbed_attn=True,
    )


def build_connectors(generation: Generation) -> LTX2TextConnectors:
    """The text projection and both connectors; in 2.0 as wide as the text, later as wide as the streams."""
    since_2_3 = generation != "2.0"
    text_head = header.TEXT_WIDTH // header.HEADS
    return LTX2TextConnectors(
        caption_channels=header.TEXT_WIDTH,
        text_proj_in_factor=header.TEXT_LAYERS + 1,
        video_connector_num_layers=header.CONNECTOR_LAYERS,
        video_connector_num_attention_heads=header.HEADS,
        video_connector_attention_head_dim=header.VIDEO_HEAD_WIDTH if since_2_3 else text_head,
        video_connector_num_learnable_registers=header.REGISTERS,
        video_gated_attn=since_2_3,
        audio_connector_num_layers=header.CONNECTOR_LAYERS,
        audio_connector_num_attention_heads=header.HEADS,
        audio_connector_attention_head_dim=header.AUDIO_HEAD_WIDTH if since_2_3 else text_head,
        audio_connector_num_learnable_registers=header.REGISTERS,
        audio_gated_attn=since_2_3,
        rope_type="split",
        per_modality_projections=since_2_3,
        proj_bias=since_2_3,
        video_hidden_dim=header.VIDEO_WIDTH,
        audio_hidden_dim=header.AUDIO_WIDTH,
    )


def build_video_vae(generation: Generation) -> AutoencoderKLLTX2Video:
    """The video VAE; channels are the real ones' with 128 replaced by the header's base widths."""
    base, decoder = header.VIDEO_CHANNELS, header.DECODER_BASE
    common: dict[str, Any] = {
        "latent_channels": header.VIDEO_CHANNELS,
        "layers_per_block": (2, 1, 1, 1, 1),
        "decoder_causal": False,
        "spatial_compression_ratio": 32,
        "temporal_compression_ratio": 8,
    }
    if generation == "2.0":
        return AutoencoderKLLTX2Video(
            block_out_channels=(2 * base, 4 * base, 8 * base, 16 * base),
            decoder_block_out_channels=(2 * decoder, 4 * decoder, 8 * decoder),
            decoder_layers_per_block=(1, 2, 1, 1),
            decoder_spatial_padding_mode="reflect",
            **common,
        )
    return AutoencoderKLLTX2Video(
        block_out_channels=(2 * base, 4 * base, 8 * base, 8 * base),
        decoder_block_out_channels=(2 * decoder, 4 * decoder, 4 * decoder, 8 * decoder),
        decoder_layers_per_block=(1, 2, 1, 1, 1),
        decoder_spatio_temporal_scaling=(True,) * 4,
        decoder_inject_noise=(False,) * 5,
        upsample_type=("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
        upsample_residual=(False,) * 4,
        upsample_factor=(2, 2, 1, 2),
        decoder_spatial_padding_mode="zeros",
        **common,
    )


def build_audio_vae() -> AutoencoderKLLTX2Audio:
    """The audio VAE on stereo log-mel spectrograms, the same in every generation."""
    return AutoencoderKLLTX2Audio(
        base_channels=header.AUDIO_TOKEN_WIDTH,
        latent_channels=header.AUDIO_CHANNELS,
        mel_bins=header.MEL_BINS,
        num_res_blocks=1,
    )


def build_vocoder(generation: Generation) -> LTX2Vocoder | LTX2VocoderWithBWE:
    """The vocoder, with bandwidth extension since 2.3; upsampling factors come from the header's lists."""
    section = header.vocoder_section(generation)
    if generation == "2.0":
        return LTX2Vocoder(in_channels=2 * header.MEL_BINS, **stages(section))
    extension = section["bwe"]
    return LTX2VocoderWithBWE(
        in_channels=2 * header.MEL_BINS,
        bwe_in_channels=2 * header.MEL_BINS,
        **stages(section["vocoder"]),
        **{f"bwe_{name}": value for name, value in stages(extension).items()},
        filter_length=extension["n_fft"],
        window_length=extension["win_size"],
        hop_length=extension["hop_length"],
        num_mel_channels=header.MEL_BINS,
    )


def stages(section: dict[str, Any]) -> dict[str, Any]:
    """One generator's arguments from its section of the header."""
    return {
        "hidden_channels": section["upsample_initial_channel"],
        "upsample_factors": section["upsample_rates"],
        "upsample_kernel_sizes": section["upsample_kernel_sizes"],
        "resnet_kernel_sizes": section["resblock_kernel_sizes"],
        "resnet_dilations": section["resblock_dilation_sizes"],
    }
