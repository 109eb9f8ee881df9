"""A tiny LTX-2.3 of the real classes as diffusers' pipeline, and a job that trains a LoRA on its transformer."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    FlowMatchEulerDiscreteScheduler,
    LTX2Pipeline,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2 import LTX2VocoderWithBWE
from torch import Tensor

from ltx_core.shapes import LatentShape, audio_latent_frames
from ltx_core.training.config import TrainSettings
from ltx_core.training.run import TrainJob
from ltx_core.training.samples import ClipInfo
from tests.tiny_transformer import build, build_connectors

CHANNELS, AUDIO_CHANNELS, TEXT, AUDIO_TEXT, REGISTERS, MELS = 16, 16, 32, 16, 8, 16
SHAPE = LatentShape(2, 1, 2)
FRAME_RATE = 24.0


def build_transformer() -> LTX2VideoTransformer3DModel:
    return build("2.3", channels=CHANNELS, audio_channels=AUDIO_CHANNELS, width=TEXT, audio_width=AUDIO_TEXT)


def build_pipeline() -> LTX2Pipeline:
    """All parts but the text encoder, which a LoRA does not reach."""
    video_vae = AutoencoderKLLTX2Video(
        latent_channels=CHANNELS,
        block_out_channels=(16, 32, 32, 32),
        decoder_block_out_channels=(16, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )
    audio_vae = AutoencoderKLLTX2Audio(
        base_channels=AUDIO_CHANNELS,
        num_res_blocks=1,
        latent_channels=AUDIO_CHANNELS // (MELS // 4),
        mel_bins=MELS,
        mid_block_add_attention=False,
    )
    vocoder = LTX2VocoderWithBWE(
        in_channels=2 * MELS,
        hidden_channels=64,
        resnet_kernel_sizes=[3],
        resnet_dilations=[[1, 3, 5]],
        bwe_in_channels=2 * MELS,
        bwe_hidden_channels=32,
        bwe_resnet_kernel_sizes=[3],
        bwe_resnet_dilations=[[1, 3, 5]],
        num_mel_channels=MELS,
    )
    return LTX2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.1),
        vae=video_vae,
        audio_vae=audio_vae,
        text_encoder=None,
        tokenizer=None,
        connectors=build_connectors(TEXT, AUDIO_TEXT, REGISTERS),
        transformer=build_transformer(),
        vocoder=vocoder,
    )


@dataclass
class TwoClips:
    """A sample source without a disk."""

    @property
    def samples(self) -> list[ClipInfo]:
        return [ClipInfo(name, "64x32@9", "train", 1, FRAME_RATE, True, f"caption {name}") for name in "ab"]

    def load(self, clip_id: str) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(ord(clip_id))
        num_audio = audio_latent_frames(SHAPE.pixels().frames / FRAME_RATE)
        return {
            "video": torch.randn(CHANNELS, *SHAPE, generator=generator),
            "audio": torch.randn(num_audio, AUDIO_CHANNELS, generator=generator),
        }

    def text(self, caption: str) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(len(caption))
        return {
            "video_features": torch.randn(3, TEXT, generator=generator).bfloat16(),
            "audio_features": torch.randn(3, AUDIO_TEXT, generator=generator).bfloat16(),
        }


def connector_parts() -> torch.nn.ModuleDict:
    whole = build_connectors(TEXT, AUDIO_TEXT, REGISTERS)
    return torch.nn.ModuleDict({name: getattr(whole, name) for name in ("video_connector", "audio_connector")})


@pytest.fixture
def job_of() -> Callable[..., TrainJob]:
    """A job of few steps in `folder`; keyword arguments change settings."""

    def make(folder: Path, **changes: Any) -> TrainJob:
        fast = {"steps": 3, "learning_rate": 1e-2, "rank": 4, "dtype": "fp32", "activation_checkpointing": 0.0}
        return TrainJob(
            settings=TrainSettings(**{**fast, **changes}),
            source=TwoClips(),
            load_transformer=build_transformer,
            load_connectors=connector_parts,
            out_dir=folder,
            device="cpu",
            provenance={"base": "tiny 2.3"},
            context_length=REGISTERS,
        )

    return make


@pytest.fixture
def transformer() -> Any:
    """The base, fresh."""
    return build_transformer()


@pytest.fixture
def pipeline() -> LTX2Pipeline:
    return build_pipeline()
