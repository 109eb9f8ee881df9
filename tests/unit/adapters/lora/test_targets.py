"""Which layers a preset or a suffix means."""

from typing import Any

import pytest
import torch

from ltx_core.adapters.lora import add_lora, target_modules
from ltx_core.adapters.lora_layout import stream_of
from ltx_core.errors import ConfigError
from ltx_core.training.config import TrainSettings
from ltx_core.training.run import put_on


def streams(modules: list[str]) -> set[str]:
    return {stream_of(module) for module in modules}


def test_video_preset_has_no_audio_and_no_cross_modal_layer(transformer: Any) -> None:
    modules = target_modules(transformer, "video")
    assert streams(modules) == {"video"}
    assert len(modules) == 2 * 2 * 4  # blocks, attentions, projections
    assert "transformer_blocks.1.attn2.to_out.0" in modules


def test_audio_preset_is_the_audio_stream_alone(transformer: Any) -> None:
    modules = target_modules(transformer, "audio")
    assert streams(modules) == {"audio"}
    assert len(modules) == 2 * 2 * 4


def test_both_preset_is_all_six_attentions(transformer: Any) -> None:
    modules = target_modules(transformer, "audio+video")
    assert streams(modules) == {"video", "audio", "cross"}
    assert len(modules) == 2 * 6 * 4
    assert modules == target_modules(transformer, ["to_q", "to_k", "to_v", "to_out.0"])


def test_feed_forward_presets_join_others_in_a_list(transformer: Any) -> None:
    both = ["ff.net.0.proj", "ff.net.2"]
    assert target_modules(transformer, "ff") == target_modules(transformer, both)
    assert target_modules(transformer, "audio_ff") == target_modules(transformer, [f"audio_{end}" for end in both])
    assert target_modules(transformer, ["video", "ff"]) == sorted(
        target_modules(transformer, "video") + target_modules(transformer, "ff")
    )


def test_all_linear_is_every_wide_layer_of_the_blocks(transformer: Any) -> None:
    every = [n for n, m in transformer.transformer_blocks.named_modules() if type(m) is torch.nn.Linear]
    gates = [name for name in every if "gate" in name]
    found = target_modules(transformer, "all-linear")
    assert found == sorted(f"transformer_blocks.{name}" for name in every if name not in gates)
    video = target_modules(transformer, "all-linear", only="video")
    assert video == [name for name in found if stream_of(name) == "video"]


def test_blocks_are_the_only_ones(transformer: Any) -> None:
    found = target_modules(transformer, "video", blocks={1})
    assert found == [name for name in target_modules(transformer, "video") if name.startswith("transformer_blocks.1.")]
    with pytest.raises(ConfigError, match=r"target_blocks names \[2, 7\], and the transformer has blocks 0 to 1"):
        target_modules(transformer, "video", blocks={1, 2, 7})


def test_a_run_trains_the_blocks_and_layers_of_its_settings(transformer: Any) -> None:
    settings = TrainSettings(targets=("video", "ff"), target_blocks="1", rank=2)
    trained = {name.rsplit(".lora_", 1)[0] for name in put_on(transformer, settings).parameters()}
    assert trained == set(target_modules(transformer, ("video", "ff"), blocks={1}))


def test_suffixes_match_at_dots(transformer: Any) -> None:
    assert streams(target_modules(transformer, ["attn1.to_q"])) == {"video"}
    assert streams(target_modules(transformer, ["ff.net.2"])) == {"video"}
    assert target_modules(transformer, ["audio_ff.net.2"]) == [
        "transformer_blocks.0.audio_ff.net.2",
        "transformer_blocks.1.audio_ff.net.2",
    ]


def test_suffix_means_video_layers_when_video_runs_alone(transformer: Any) -> None:
    assert streams(target_modules(transformer, ["to_q", "ff.net.2"], only="video")) == {"video"}
    with pytest.raises(ConfigError, match="audio_attn1"):
        target_modules(transformer, ["audio_attn1.to_q"], only="video")


def test_unknown_names_are_refused(transformer: Any) -> None:
    with pytest.raises(ConfigError, match="to_x"):
        target_modules(transformer, ["to_q", "to_x"])
    with pytest.raises(ConfigError, match="preset"):
        target_modules(transformer, "everything")
    with pytest.raises(ConfigError, match="patchify"):
        target_modules(transformer, ["patchify"])


@pytest.mark.parametrize(
    ("target", "lightricks", "stream"),
    [
        ("proj_in", "patchify_proj", "video"),
        ("audio_proj_in", "audio_patchify_proj", "audio"),
        ("time_embed.linear", "adaln_single.linear", "video"),
        ("audio_prompt_adaln.linear", "audio_prompt_adaln_single.linear", "audio"),
        ("av_cross_attn_video_a2v_gate.linear", "av_ca_a2v_gate_adaln_single.linear", "cross"),
        ("proj_out", "proj_out", "video"),
    ],
)
def test_layers_outside_the_blocks_go_by_either_name(
    target: str, lightricks: str, stream: str, transformer: Any
) -> None:
    assert target_modules(transformer, [target]) == target_modules(transformer, [lightricks]) == [target]
    assert stream_of(target) == stream
    if stream == "video":
        assert target_modules(transformer, [target], only="video") == [target]
    else:
        with pytest.raises(ConfigError, match="video stream"):
            target_modules(transformer, [target], only="video")


def test_names_stay_the_same_once_adapted(transformer: Any) -> None:
    before = target_modules(transformer, "audio+video")
    add_lora(transformer, before, rank=2, alpha=2, seed=0)
    assert target_modules(transformer, "audio+video") == before


def test_options_of_layers_that_are_not_trained_are_refused(transformer: Any) -> None:
    for wrong in ({"audio_rank": 4}, {"cross_learning_rate": 1e-5}):
        with pytest.raises(ConfigError, match=f"{next(iter(wrong))} is .* targets 'video' has no layer"):
            put_on(transformer, TrainSettings.model_validate({"targets": "video", **wrong}))
