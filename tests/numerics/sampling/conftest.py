"""Tiny autoencoders and vocoder of the real classes and real topology: 32x32x8 video, 25 audio latents a second."""

import pytest
import torch
from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video
from diffusers.pipelines.ltx2 import LTX2Vocoder

CHANNELS, AUDIO_LATENT_CHANNELS, MEL_BINS = 8, 4, 16
AUDIO_CHANNELS = AUDIO_LATENT_CHANNELS * MEL_BINS // 4


@pytest.fixture(scope="session")
def vae() -> AutoencoderKLLTX2Video:
    torch.manual_seed(0)
    return AutoencoderKLLTX2Video(
        latent_channels=CHANNELS,
        block_out_channels=(8, 16, 16, 32),
        decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        decoder_spatio_temporal_scaling=(True,) * 3,
        decoder_inject_noise=(False,) * 4,
        upsample_type=("spatiotemporal",) * 3,
        upsample_residual=(True,) * 3,
        upsample_factor=(2, 2, 2),
        decoder_spatial_padding_mode="zeros",
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    ).eval()


@pytest.fixture(scope="session")
def audio_vae() -> AutoencoderKLLTX2Audio:
    torch.manual_seed(1)
    return AutoencoderKLLTX2Audio(
        base_channels=AUDIO_CHANNELS,
        output_channels=2,
        ch_mult=(1, 2, 4),
        num_res_blocks=1,
        latent_channels=AUDIO_LATENT_CHANNELS,
        mel_bins=MEL_BINS,
    ).eval()


@pytest.fixture(scope="session")
def vocoder() -> LTX2Vocoder:
    torch.manual_seed(2)
    return LTX2Vocoder(
        in_channels=2 * MEL_BINS,
        hidden_channels=64,
        out_channels=2,
        upsample_kernel_sizes=[16, 15, 8, 4, 4],
        upsample_factors=[6, 5, 2, 2, 2],
        resnet_kernel_sizes=[3],
        resnet_dilations=[[1, 3, 5]],
        output_sampling_rate=24000,
    ).eval()
