"""Which layers, and the tensors on them: the library's own, counted without it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from lycoris.functional import factorization

from ltx_core.adapters.lora import linear_layers
from ltx_core.adapters.lycoris import new_module
from ltx_core.adapters.lycoris_layout import LayerOptions, factor_pair, lycoris_layers, num_weights, tensor_shapes
from ltx_core.adapters.lycoris_settings import LycorisSettings
from ltx_core.engine.options import EngineOptions
from ltx_core.errors import ConfigError
from ltx_core.memory.training import AdapterWork, Training
from ltx_core.memory.transformer import linear_shapes
from ltx_core.training.config import TrainSettings
from ltx_core.training.plan_settings import Bucket, bucket_of, workload
from tests.unit.adapters.lycoris.conftest import every_kind, put_on

BUCKET: Bucket = bucket_of("64x64@9", 24, 4)


def test_sides_are_cut_as_the_library_cuts_them() -> None:
    factors = (-1, 1, 2, 3, 4, 7, 8, 12, 16, 64)
    for side in range(1, 400):
        assert [factor_pair(side, f) for f in factors] == [tuple(factorization(side, f)) for f in factors], side


@pytest.mark.parametrize("shape", [(64, 48), (16, 32), (40, 6)])
@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        LayerOptions("lora", 4, 2),
        LayerOptions("loha", 3, 3),
        LayerOptions("lokr", 1, 1),
        LayerOptions("lokr", 1, 1, 4),
        LayerOptions("lokr", 2, 1, -1, decompose_both=True),
        LayerOptions("lokr", 2, 1, 5, full_matrix=True),
        LayerOptions("lokr", 10000, 1, 16),
    ],
    ids=str,
)
def test_tensors_are_those_that_the_library_makes(options: LayerOptions, dora: bool, shape: tuple[int, int]) -> None:
    options = LayerOptions(**{**vars(options), "dora": dora})
    made = {name: tuple(p.shape) for name, p in new_module("x", shape, options, seed=0).named_parameters()}
    assert made == tensor_shapes(options, shape)


@every_kind
def test_as_many_weights_are_trained_as_planned(build: Callable[..., Any], options: dict[str, Any]) -> None:
    settings = TrainSettings.model_validate({"lycoris": options})
    assert settings.lycoris is not None
    transformer = build()
    shapes = {name: tuple(tensor.shape) for name, tensor in transformer.state_dict().items()}
    planned = workload(settings, [BUCKET], {"transformer": shapes, "connectors": {}}).training
    adapter = put_on(transformer, {"linear_dim": 4, "linear_alpha": 1} | options)
    assert sum(parameter.numel() for parameter in adapter.parameters().values()) == planned.num_trained
    wants_more = settings.lycoris.dora_wd or settings.lycoris.algo == "loha"
    assert (planned.adapter != AdapterWork()) == wants_more


def test_what_an_adapter_builds_and_keeps_is_counted(build: Callable[..., Any]) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in build().state_dict().items()}
    plain = workload(TrainSettings(), [BUCKET], {"transformer": shapes, "connectors": {}})
    options = EngineOptions(activation_checkpointing=1.0)
    more = AdapterWork(built=1000, video_values=10, audio_values=5)
    before, after = (
        replace(plain, training=Training(1, adapter=adapter)).estimate(options).peak_bytes
        for adapter in (AdapterWork(), more)
    )
    batch = plain.batch
    kept = 2 * batch.size * (10 * batch.video_tokens + 5 * batch.audio_tokens)
    assert after - before == 24 * 1000 + kept


def test_classes_mean_the_linear_layers_inside_them(build: Callable[..., Any]) -> None:
    linear = linear_layers(build())
    preset: dict[str, Any] = {
        "target_module": ["Attention", "FeedForward"],
        "module_algo_map": {"Attention": {"factor": 4}, "FeedForward": {"factor": 8, "dim": 2, "alpha": 6}},
    }
    settings = LycorisSettings.model_validate({"algo": "lokr", "linear_dim": 3, "apply_preset": preset})
    found = lycoris_layers(linear, settings, "video")
    assert {name.split(".")[2] for name in found} == {
        *("attn1", "attn2", "audio_attn1", "audio_attn2", "audio_to_video_attn", "video_to_audio_attn"),
        *("ff", "audio_ff"),
    }
    assert {(o.factor, o.dim, o.alpha) for name, o in found.items() if "ff" in name.split(".")[2]} == {(8, 2, 6.0)}
    assert {(o.factor, o.dim, o.alpha) for name, o in found.items() if "attn" in name} == {(4, 3, 1.0)}
    video = lycoris_layers(linear, settings, "video", only="video")
    assert {name.split(".")[2] for name in video} == {"attn1", "attn2", "ff"}
    whole = LycorisSettings.model_validate({"apply_preset": {"target_module": ["LTX2VideoTransformerBlock"]}})
    assert set(lycoris_layers(linear, whole, "video")) == {n for n in linear if n.startswith("transformer_blocks.")}


def test_without_a_preset_targets_say_which(build: Callable[..., Any]) -> None:
    linear = linear_layers(build())
    found = lycoris_layers(linear, LycorisSettings(), ("attn1.to_q",))
    assert list(found) == ["transformer_blocks.0.attn1.to_q", "transformer_blocks.1.attn1.to_q"]
    with pytest.raises(ConfigError, match="holds no linear layer"):
        lycoris_layers(["proj_in"], LycorisSettings.model_validate({"apply_preset": {}}), "video")


def test_count_is_the_sum_over_layers(build: Callable[..., Any]) -> None:
    shapes = linear_shapes({name: tuple(tensor.shape) for name, tensor in build().state_dict().items()})
    layers = {"transformer_blocks.0.attn1.to_q": LayerOptions("lora", 4, 4, dora=True)}
    assert num_weights(layers, shapes) == 4 * (32 + 32) + 32
