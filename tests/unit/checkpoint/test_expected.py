"""Names and shapes by arithmetic are those of the real classes, built on the meta device."""

import dataclasses
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video, LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2Vocoder, LTX2VocoderWithBWE
from diffusers.pipelines.ltx2.connectors import LTX2ConnectorTransformer1d
from transformers import Gemma3TextConfig, Gemma3TextModel, Gemma4UnifiedTextConfig, Gemma4UnifiedTextModel

from benchmarks import released
from ltx_core.checkpoint.architecture import (
    audio_vae_arguments,
    connector_arguments,
    transformer_arguments,
    video_vae_arguments,
    vocoder_arguments,
)
from ltx_core.checkpoint.expected import audio, gemma, transformer, video_vae
from ltx_core.checkpoint.expected.tree import Tree, flat
from ltx_core.errors import CheckpointError
from ltx_core.tiny import gemma as gemma4
from ltx_core.tiny import header
from ltx_core.tiny.gemma import train_tokenizer

pytestmark = pytest.mark.whole

GENERATIONS: tuple[header.Generation, ...] = ("2.0", "2.3", "2.5")
TOYS = [pytest.param(header.config(g), id=f"toy {g}") for g in GENERATIONS]
RELEASED = [pytest.param(released.config(g), id=g, marks=pytest.mark.extra) for g in released.GENERATIONS]
each_config = pytest.mark.parametrize("config", [*TOYS, *RELEASED])
TOY = header.config("2.3")


def built(kind: Callable[..., torch.nn.Module], arguments: Any) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        module = kind(**arguments) if isinstance(arguments, Mapping) else kind(arguments)
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def a_block_less(config: Mapping[str, Any]) -> dict[str, Any]:
    """48 blocks take seconds to build; they are alike."""
    return {**config, "transformer": {**config["transformer"], "num_layers": 2}}


@each_config
def test_transformer(config: dict[str, Any]) -> None:
    arguments = transformer_arguments(a_block_less(config))
    assert flat(transformer.transformer(arguments)) == built(LTX2VideoTransformer3DModel, arguments)


@pytest.mark.parametrize(
    "change",
    [
        {"gated_attn": True, "audio_gated_attn": False, "cross_attn_mod": True, "audio_cross_attn_mod": False},
        {"attention_bias": False, "attention_out_bias": True, "audio_ff_bias": False},
        {"attention_out_bias": False, "use_prompt_embeddings": True, "caption_channels": 24, "out_channels": None},
        {"norm_elementwise_affine": True, "cross_attention_dim": 40, "audio_cross_attention_dim": 12},
        {"cross_attn_mod": True, "use_prompt_adaln_single": False, "in_channels": 6, "audio_out_channels": 9},
    ],
)
def test_a_transformer_that_no_release_has(change: dict[str, Any]) -> None:
    arguments = transformer_arguments(TOY) | change
    assert flat(transformer.transformer(arguments)) == built(LTX2VideoTransformer3DModel, arguments)


@each_config
def test_connectors(config: dict[str, Any]) -> None:
    arguments = connector_arguments(config)
    found = flat(transformer.connectors(arguments))
    for name, own in arguments.items():
        wanted = built(LTX2ConnectorTransformer1d, own)
        assert {key.removeprefix(f"{name}."): s for key, s in found.items() if key.startswith(f"{name}.")} == wanted
    assert not [name for name in found if name.partition(".")[0] not in arguments]
    without = {"video_connector": arguments["video_connector"] | {"num_learnable_registers": None}}
    assert "video_connector.learnable_registers" not in flat(transformer.connectors(without))


@each_config
def test_video_vae(config: dict[str, Any]) -> None:
    arguments = video_vae_arguments(config)
    assert flat(video_vae.video_vae(arguments)) == built(AutoencoderKLLTX2Video, arguments)


@pytest.mark.parametrize(
    "change",
    [
        {"decoder_inject_noise": (True, False, True, True, False), "patch_size": 2},
        {"decoder_inject_noise": True, "upsample_residual": False, "spatio_temporal_scaling": True},
        {"decoder_spatio_temporal_scaling": (True, False, True, True), "out_channels": 5},
        {"layers_per_block": (1, 2, 3, 2, 1), "decoder_layers_per_block": (3, 1, 2, 1, 2)},
    ],
)
def test_a_video_vae_that_no_release_has(change: dict[str, Any]) -> None:
    arguments = video_vae_arguments(TOY) | change
    assert flat(video_vae.video_vae(arguments)) == built(AutoencoderKLLTX2Video, arguments)


@each_config
def test_audio_vae(config: dict[str, Any]) -> None:
    arguments = audio_vae_arguments(config)
    assert flat(audio.audio_vae(arguments)) == built(AutoencoderKLLTX2Audio, arguments)


@pytest.mark.parametrize(
    "change",
    [
        {"attn_resolutions": (256, 64), "double_z": False},
        {"norm_type": "group", "causality_axis": "none", "mid_block_add_attention": True, "base_channels": 32},
        {"ch_mult": (1, 1, 3, 2), "num_res_blocks": 3},
    ],
)
def test_an_audio_vae_that_no_release_has(change: dict[str, Any]) -> None:
    arguments = audio_vae_arguments(TOY) | change
    assert flat(audio.audio_vae(arguments)) == built(AutoencoderKLLTX2Audio, arguments)


@each_config
def test_vocoder(config: dict[str, Any]) -> None:
    arguments = vocoder_arguments(config)
    if "bwe" in config["vocoder"]:
        assert flat(audio.extended_vocoder(arguments)) == built(LTX2VocoderWithBWE, arguments)
    else:
        assert flat(audio.vocoder(arguments)) == built(LTX2Vocoder, arguments)


@pytest.mark.parametrize("change", [{"act_fn": "snake"}, {"bwe_antialias": False}, {"antialias_kernel_size": 6}])
def test_a_vocoder_that_no_release_has(change: dict[str, Any]) -> None:
    arguments = vocoder_arguments(TOY) | change
    assert flat(audio.extended_vocoder(arguments)) == built(LTX2VocoderWithBWE, arguments)


def test_gemma_3() -> None:
    stored = json.loads((Path(__file__).parents[2] / "golden" / "2.3" / "text_encoder" / "config.json").read_text())
    for config in (stored["text_config"], {**released.GEMMA_3_12B, "num_hidden_layers": 2}):
        wanted = built(Gemma3TextModel, Gemma3TextConfig(**config))
        assert flat(gemma.gemma3(config)) == wanted
    assert flat(gemma.gemma3({"attention_bias": True})) == built(Gemma3TextModel, Gemma3TextConfig(attention_bias=True))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"attention_k_eq_v": False},
        {"num_kv_shared_layers": 2, "use_double_wide_mlp": True, "num_hidden_layers": 8, "layer_types": None},
        {"layer_types": ["full_attention", "sliding_attention"] * 2, "attention_bias": True},
    ],
)
def test_gemma_4(change: dict[str, Any]) -> None:
    own = gemma4.text_config(train_tokenizer()).to_dict()
    if change:  # its configuration of single layers is written by this release; those that are about name no layer
        del own["per_layer_config"]
        own |= {"global_head_dim": 24, "num_global_key_value_heads": 1, **change}
    assert flat(gemma.gemma4(own)) == built(Gemma4UnifiedTextModel, Gemma4UnifiedTextConfig(**own))


@pytest.mark.parametrize(
    ("sizes", "kind"),
    [
        (transformer.TransformerSizes, LTX2VideoTransformer3DModel),
        (transformer.ConnectorSizes, LTX2ConnectorTransformer1d),
        (video_vae.EncoderSizes, AutoencoderKLLTX2Video),
        (audio.AudioVaeSizes, AutoencoderKLLTX2Audio),
        (audio.VocoderSizes, LTX2Vocoder),
        (audio.SpectrumSizes, LTX2VocoderWithBWE),
    ],
)
def test_what_is_not_given_has_the_default_of_the_class(sizes: Any, kind: Any) -> None:
    own = {name: parameter.default for name, parameter in inspect.signature(kind).parameters.items()}
    for field in dataclasses.fields(sizes):
        assert listed(field.default) == listed(own[field.name]), field.name


def test_what_is_not_given_of_an_extended_vocoder_has_the_default_of_the_class() -> None:
    assert flat(audio.extended_vocoder({})) == built(LTX2VocoderWithBWE, {})


def test_what_is_not_given_of_a_decoder_has_the_default_of_the_class() -> None:
    assert flat(video_vae.video_vae({})) == built(AutoencoderKLLTX2Video, {})


@pytest.mark.parametrize(
    ("sizes", "config"), [(gemma.gemma3, Gemma3TextConfig), (gemma.gemma4, Gemma4UnifiedTextConfig)]
)
def test_what_is_not_given_of_gemma_has_the_default_of_its_config(sizes: Callable[..., Tree], config: Any) -> None:
    kind = Gemma3TextModel if config is Gemma3TextConfig else Gemma4UnifiedTextModel
    assert flat(sizes({})) == built(kind, config())


def listed(value: Any) -> Any:
    return [listed(one) for one in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize(
    ("build", "arguments", "told"),
    [
        (transformer.transformer, {"activation_fn": "geglu"}, "activation is 'geglu'"),
        (video_vae.video_vae, {"timestep_conditioning": True}, "takes a timestep"),
        (video_vae.video_vae, {"downsample_type": ("conv",) * 4}, "changes resolution by 'conv'"),
        (audio.vocoder, {"antialias": True}, "antialiases 'leaky_relu'"),
    ],
)
def test_what_is_not_known_is_refused(build: Callable[..., Tree], arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(CheckpointError, match=told):
        build(arguments)
