"""The released models' configs, with the widths that their headers give, build models of the released sizes."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video, LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2Vocoder, LTX2VocoderWithBWE
from diffusers.pipelines.ltx2.connectors import LTX2ConnectorTransformer1d

from ltx_core.checkpoint.architecture import (
    audio_vae_arguments,
    connector_arguments,
    transformer_arguments,
    video_vae_arguments,
    vocoder_arguments,
)
from ltx_core.checkpoint.layouts import open_combined

pytestmark = pytest.mark.extra

GOLDEN = Path(__file__).parents[2] / "golden"
WIDTHS = {
    "num_layers": 48,
    "num_attention_heads": 32,
    "attention_head_dim": 128,
    "cross_attention_dim": 4096,
    "audio_num_attention_heads": 32,
    "audio_attention_head_dim": 64,
    "audio_cross_attention_dim": 2048,
    "caption_channels": 3840,
    "in_channels": 128,
    "out_channels": 128,
    "connector_attention_head_dim": 128,
}
CONNECTORS = {
    "2.0": {"connector_num_layers": 2, "connector_num_attention_heads": 30},
    "2.3": {
        "connector_num_layers": 8,
        "connector_num_attention_heads": 32,
        "audio_connector_num_attention_heads": 32,
        "audio_connector_attention_head_dim": 64,
    },
}
LAYERS = {"2.0": ((4, 6, 6, 2, 2), (5, 5, 5, 5)), "2.3": ((4, 6, 4, 2, 2), (4, 6, 4, 2, 2))}


def released(generation: str) -> dict[str, Any]:
    path = GOLDEN / generation / "checkpoint.safetensors"
    config = copy.deepcopy(open_combined(path, components=()).config)
    config["transformer"].update(WIDTHS, **CONNECTORS.get(generation, CONNECTORS["2.3"]))
    for name in ("audio_in_channels", "audio_out_channels"):
        del config["transformer"][name]
    config["vae"].update(latent_channels=128, encoder_base_channels=128, decoder_base_channels=128)
    for side, layers in zip(("encoder", "decoder"), LAYERS.get(generation, LAYERS["2.3"]), strict=True):
        for (_, block), count in zip(config["vae"][f"{side}_blocks"][::2], layers, strict=True):
            block["num_layers"] = count
    config["audio_vae"]["model"]["params"]["ddconfig"].update(ch=128, z_channels=8, num_res_blocks=2)
    vocoder = config["vocoder"]
    vocoder.get("vocoder", vocoder)["upsample_initial_channel"] = 1536 if "bwe" in vocoder else 1024
    if "bwe" in vocoder:
        vocoder["bwe"].update(upsample_initial_channel=512, n_fft=512, win_size=512)
    return config


def size(build: Callable[[], torch.nn.Module]) -> int:
    with torch.device("meta"):
        return sum(math.prod(parameter.shape) for parameter in build().parameters())


@pytest.mark.parametrize(
    ("generation", "expected"), [("2.0", 18_876_174_592), ("2.3", 18_988_838_144), ("2.5", 18_987_859_200)]
)
def test_transformer(generation: str, expected: int) -> None:
    arguments = transformer_arguments(released(generation))
    assert size(lambda: LTX2VideoTransformer3DModel(**arguments)) == expected


@pytest.mark.parametrize(("generation", "expected"), [("2.0", 1_431_475_200), ("2.3", 3_172_227_584)])
def test_connectors_and_projections(generation: str, expected: int) -> None:
    """The sizes are known with the text projections of 49 states of 3840."""
    projections = 188_160 * 3840 if generation == "2.0" else (188_160 + 1) * (4096 + 2048)
    arguments = connector_arguments(released(generation))
    connectors = sum(size(lambda given=given: LTX2ConnectorTransformer1d(**given)) for given in arguments.values())
    assert connectors + projections == expected


@pytest.mark.parametrize(("generation", "expected"), [("2.0", 1_222_479_601), ("2.3", 726_105_969)])
def test_video_vae(generation: str, expected: int) -> None:
    arguments = video_vae_arguments(released(generation))
    assert size(lambda: AutoencoderKLLTX2Video(**arguments)) == expected


def test_audio_vae() -> None:
    arguments = audio_vae_arguments(released("2.3"))
    assert size(lambda: AutoencoderKLLTX2Audio(**arguments)) == 53_248_146


@pytest.mark.parametrize(("generation", "expected"), [("2.0", 55_592_802), ("2.3", 128_537_448)])
def test_vocoder(generation: str, expected: int) -> None:
    arguments = vocoder_arguments(released(generation))
    kind = LTX2Vocoder if generation == "2.0" else LTX2VocoderWithBWE
    assert size(lambda: kind(**arguments)) == expected
